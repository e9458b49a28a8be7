"""The links of a graph one by one, for networks that pass messages along them: the edges, or links by a shared key.

Shapes: N nodes.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from lorkit.decompose.artifacts.arrays import Floats, Ints
from lorkit.decompose.data.graphs.graph import NO_KEY, Edges, Graph, Keys

LINKS = 3
"""Nodes of a key before a node that are linked to it: all nodes of a key would be as many links as their square."""


def graph_links(graph: Graph, *, timed: bool) -> dict[str, csr_array]:
    """Return the links of each relation, (N, N) float32 ones; row v holds the nodes with a link to v.

    Nodes that share a key are linked to the `LINKS` ones before them by time, else in the order of the data, as in the
    graph of S-FFSD by Xiang et al. ("Semi-supervised credit card fraud detection via attribute-driven graph
    representation", AAAI 2023). The link goes in both directions unless the graph is timed, in which a node sees no
    later one.

    Args:
        graph: The graph.
        timed: Whether a node sees only earlier nodes.
    """
    return {
        name: _of_edges(relation) if isinstance(relation, Edges) else _of_keys(relation, graph.times_N, timed=timed)
        for name, relation in graph.relations.items()
    }


def _of_edges(relation: Edges) -> csr_array:
    return csr_array(relation.neighbours, dtype=np.float32)


def _of_keys(relation: Keys, times_N: Floats | None, *, timed: bool) -> csr_array:
    nodes = len(relation.keys_N)
    order_N: Ints = np.lexsort((np.zeros(nodes) if times_N is None else times_N, relation.keys_N))
    order = order_N[relation.keys_N[order_N] != NO_KEY]
    pairs = [_pairs(relation.keys_N, order, lag) for lag in range(1, LINKS + 1)]
    earlier, later = np.concatenate(pairs, axis=1)
    ends = (later, earlier) if timed else (np.append(later, earlier), np.append(earlier, later))
    return csr_array((np.ones(len(ends[0]), dtype=np.float32), ends), shape=(nodes, nodes))


def _pairs(keys_N: Ints, order: Ints, lag: int) -> Ints:
    """Return (2, P): earlier and later nodes of one key, `lag` places apart in the order of keys and times."""
    earlier, later = order[:-lag], order[lag:]
    return np.stack([earlier, later])[:, keys_N[earlier] == keys_N[later]]
