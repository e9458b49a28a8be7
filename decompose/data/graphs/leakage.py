"""How much of the answer the labels of training neighbours give away, by relation.

Where nodes that share a user also share the label, a model that copies it looks good on known users only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import Floats, Ints
from lorkit.decompose.data.graphs.edge_groups import near_nodes
from lorkit.decompose.data.graphs.graph import NO_KEY, Edges, Graph, Keys
from lorkit.decompose.data.graphs.shared_keys import Stream


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """The labelled training neighbours of the nodes of one part, in one relation.

    Attributes:
        relation: Name of the relation.
        hops: Neighbours are within so many hops; of shared keys all are within one.
        nodes: Labelled nodes of the part.
        exposed: Those of them with a training neighbour whose label they see.
        share: `exposed` of `nodes`; None for a part without nodes.
        right: How often the most frequent label of the training neighbours is the node's own, over the exposed nodes;
            of n labels that are equally frequent, each counts 1/n. None if no node is exposed.
    """

    relation: str
    hops: int
    nodes: int
    exposed: int
    share: float | None
    right: float | None


def measure_leakage(
    graph: Graph, parts: Sequence[str | None], *, part: str = "test", hops: int = 1, label_delay: float = 0.0
) -> tuple[Leakage, ...]:
    """Measure, for each relation, what training neighbours say about the nodes of a part.

    Neighbours by edges are those from which a path of so many edges or fewer comes. By keys they share the key, and
    with times come before the node: by time, then in the order of the data, and the delay of labels before it or
    longer, as in `tokens.node_inputs`.

    Args:
        graph: The graph.
        parts: (N,) "train", "val", "test" or None.
        part: The part whose nodes are judged.
        hops: Hops by edges within which a node sees labels.
        label_delay: Time from a node to its label, in the unit of the times.
    """
    named = np.array([name or "" for name in parts])
    train_N = (named == "train") & graph.labelled_N
    nodes = np.flatnonzero((named == part) & graph.labelled_N)
    onehot_NC = np.zeros((len(graph), len(graph.classes)), dtype=np.int64)
    onehot_NC[train_N, graph.labels_N[train_N]] = 1
    rows = []
    for name, relation in graph.relations.items():
        if isinstance(relation, Edges):
            counts, within = _by_edges(relation, onehot_NC, nodes, hops), hops
        else:
            counts, within = _by_key(relation, onehot_NC, graph.times_N, label_delay)[nodes], 1
        rows.append(_row(name, within, counts, graph.labels_N[nodes]))
    return tuple(rows)


def _by_edges(relation: Edges, onehot_NC: NDArray[np.int64], nodes: Ints, hops: int) -> NDArray[np.int64]:
    """Return (n, C) the training nodes of each class within some hops of nodes, without the node itself."""
    blocks = [near.astype(np.int64) @ onehot_NC for near in near_nodes(relation.neighbours, hops, nodes)]
    counts: NDArray[np.int64] = np.concatenate([np.zeros((0, onehot_NC.shape[1]), dtype=np.int64), *blocks])
    return counts if hops == 1 else counts - onehot_NC[nodes]


def _by_key(
    relation: Keys, onehot_NC: NDArray[np.int64], times_N: Floats | None, label_delay: float
) -> NDArray[np.int64]:
    """Return (N, C) the training nodes of each class that share a node's key and whose label it sees."""
    counts = np.zeros_like(onehot_NC)
    if times_N is not None:
        stream = Stream.of(relation.keys_N, times_N, label_delay)
        sums = np.concatenate([np.zeros_like(onehot_NC[:1]), np.cumsum(onehot_NC[stream.order_N], axis=0)])
        counts[stream.order_N] = sums[stream.known_N] - sums[stream.start_N]
        return counts
    keyed = np.flatnonzero(relation.keys_N != NO_KEY)
    keys, own = relation.keys_N[keyed], onehot_NC[keyed]
    totals = np.zeros((len(relation.names), own.shape[1]), dtype=np.int64)
    np.add.at(totals, keys, own)
    counts[keyed] = totals[keys] - own
    return counts


def _row(name: str, hops: int, counts: NDArray[np.int64], labels: Ints) -> Leakage:
    exposed = counts.sum(axis=1) > 0
    seen, own = counts[exposed], labels[exposed]
    most = seen == seen.max(axis=1, keepdims=True, initial=0)
    right = most[np.arange(len(own)), own] / most.sum(axis=1)
    return Leakage(
        relation=name,
        hops=hops,
        nodes=len(labels),
        exposed=len(own),
        share=len(own) / len(labels) if len(labels) else None,
        right=float(right.mean()) if len(own) else None,
    )
