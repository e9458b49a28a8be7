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


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """The labelled training neighbours of the nodes of one part, in one relation.

    Attributes:
        relation: Name of the relation.
        hops: Neighbours are within so many hops; of shared keys all are within one.
        nodes: Labelled nodes of the part.
        exposed: Those of them with a training neighbour.
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
    graph: Graph, parts: Sequence[str | None], *, part: str = "test", hops: int = 1
) -> tuple[Leakage, ...]:
    """Measure, for each relation, what training neighbours say about the nodes of a part.

    Neighbours by edges are those from which a path of so many edges or fewer comes. By keys they share the key, and
    with times come before the node: by time, then in the order of the data.

    Args:
        graph: The graph.
        parts: (N,) "train", "val", "test" or None.
        part: The part whose nodes are judged.
        hops: Hops by edges within which a node sees labels.
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
            counts, within = _by_key(relation, onehot_NC, graph.times_N)[nodes], 1
        rows.append(_row(name, within, counts, graph.labels_N[nodes]))
    return tuple(rows)


def _by_edges(relation: Edges, onehot_NC: NDArray[np.int64], nodes: Ints, hops: int) -> NDArray[np.int64]:
    """Return (n, C) the training nodes of each class within some hops of nodes, without the node itself."""
    blocks = [near.astype(np.int64) @ onehot_NC for near in near_nodes(relation.neighbours, hops, nodes)]
    counts: NDArray[np.int64] = np.concatenate([np.zeros((0, onehot_NC.shape[1]), dtype=np.int64), *blocks])
    return counts if hops == 1 else counts - onehot_NC[nodes]


def _by_key(relation: Keys, onehot_NC: NDArray[np.int64], times_N: Floats | None) -> NDArray[np.int64]:
    """Return (N, C) the training nodes of each class that share a node's key, without the node itself."""
    counts = np.zeros_like(onehot_NC)
    keyed = np.flatnonzero(relation.keys_N != NO_KEY)
    keys, own = relation.keys_N[keyed], onehot_NC[keyed]
    if times_N is None:
        totals = np.zeros((len(relation.names), own.shape[1]), dtype=np.int64)
        np.add.at(totals, keys, own)
        counts[keyed] = totals[keys] - own
        return counts
    order = np.lexsort((keyed, times_N[keyed], keys))
    before = np.cumsum(own[order], axis=0) - own[order]
    starts = np.searchsorted(keys[order], keys[order], side="left")
    counts[keyed[order]] = before - before[starts]
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
