"""Cut a graph in two sides that are more than some hops apart, by leaving out few nodes.

A node that is left out is in no part, and still a neighbour: two nodes beside it are within two hops of each other. So
what must be apart are the pairs of nodes within the hops, and they are the edges of the matrices here.

Shapes: N nodes, n of them that are to be separated; matrices are symmetric with ones for pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix, diags_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from lorkit.decompose.artifacts.arrays import Floats, Ints
from lorkit.decompose.data.graphs.edge_groups import near_nodes
from lorkit.decompose.data.graphs.graph import Edges
from lorkit.decompose.errors import DataError, plural

Flags = NDArray[np.bool_]
MOST_PAIRS = 2 * 10**8
"""Pairs of nodes within the hops that are held: of 5 bytes each, and as many again while they are joined."""
_ROUNDS = 100
_STEPS = 1000
"""Most steps in which a side grows: more than one node at a time in a graph of more nodes."""


def pairs_within(relations: Sequence[Edges], nodes: Ints, hops: int) -> csr_array:
    """Return which of some nodes are within some hops of each other in one relation, in either direction.

    The steps between them may go over any node of the graph.

    Args:
        relations: Relations of N nodes.
        nodes: (n,) the nodes.
        hops: Number of hops.

    Returns:
        (n, n) int32 ones, symmetric, none of a node with itself.

    Raises:
        DataError: They are more than `MOST_PAIRS`.
    """
    found: list[csr_array] = []
    for relation in relations:
        forward = relation.neighbours
        back = csr_array(forward.T)
        one_way = (forward != back).nnz > 0
        found += [_pairs_along(matrix, nodes, hops) for matrix in ((forward, back) if one_way else (forward,))]
    total = found[0]
    for own in found[1:]:
        total = csr_array(total + own)
    return csr_array(total, dtype=np.int32)


def _pairs_along(neighbours: csr_array, nodes: Ints, hops: int) -> csr_array:
    """Return (n, n) which nodes are within some hops before each, without itself; raise DataError for too many."""
    place_N = np.full(neighbours.shape[0], -1)
    place_N[nodes] = np.arange(len(nodes))
    columns, lengths, start, count = [np.zeros(0, dtype=np.int32)], [np.zeros(0, dtype=np.int64)], 0, 0
    for near in near_nodes(neighbours, hops, nodes):
        rows_E = np.repeat(np.arange(near.shape[0]), np.diff(near.indptr))
        column_E = place_N[near.indices]
        used_E = (column_E >= 0) & (column_E != rows_E + start)
        columns.append(column_E[used_E].astype(np.int32))
        lengths.append(np.bincount(rows_E[used_E], minlength=near.shape[0]))
        start, count = start + near.shape[0], count + len(columns[-1])
        if count > MOST_PAIRS:
            raise DataError(
                f"more than {MOST_PAIRS:,} pairs of nodes are within {plural(hops, 'hop')} of each other",
                required="fewer pairs, which a split by neighbours would keep apart",
                fix="keep fewer hops apart with split.hops, or choose another split",
            )
    ends = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    matrix = csr_array((np.ones(count, dtype=np.bool_), np.concatenate(columns), ends), shape=(len(nodes), len(nodes)))
    matrix.sort_indices()
    return matrix


def grow_apart(pairs: csr_array, share: float) -> tuple[Flags, Flags]:
    """Grow one side of a graph, always by the nodes that bring the fewest further ones into their hops.

    Of all stages the one is taken at which both sides have most of the share that they should have. Minimum degree
    orderings of sparse matrices choose in this way (George and Liu, SIAM Review 31, 1989).

    Args:
        pairs: (n, n) of a connected graph.
        share: Of the grown side among the nodes that are in one of the two.

    Returns:
        (n,) whether a node is on the grown side, and whether it is left out.
    """
    total = pairs.shape[0]
    starts, ends = pairs.indptr[:-1], pairs.indptr[1:]
    free_N, grown_N = np.ones(total, dtype=np.bool_), np.zeros(total, dtype=np.bool_)
    further_N = (ends - starts).astype(np.int64)  # free nodes in a pair with each
    step, order = -(-total // _STEPS), list[int]()
    best, stage = -1.0, 0
    while free_N.any():
        fewest = np.argpartition(np.where(grown_N, total, further_N), step - 1)[:step]
        for node in fewest[~grown_N[fewest]].tolist():
            paired = pairs.indices[starts[node] : ends[node]]
            grown_N[node] = True
            order.append(node)
            closed = paired[free_N[paired]].tolist() + ([node] if free_N[node] else [])
            free_N[closed] = False
            for one in closed:
                further_N[pairs.indices[starts[one] : ends[one]]] -= 1
        kept = min(len(order) / share, free_N.sum() / (1 - share))
        if kept > best:
            best, stage = kept, len(order)
    side_N = np.zeros(total, dtype=np.bool_)
    side_N[order[:stage]] = True
    return side_N, ~side_N & (pairs @ side_N.astype(np.int32) > 0)


def order_by_community(adjacency: csr_array, *, seed: int) -> Ints:
    """Order the nodes of a connected graph so that neighbours are near each other.

    The order is that of the second eigenvector of the normalised adjacency (spectral bisection; Shi and Malik,
    "Normalized cuts and image segmentation", 2000), by power iteration. A vector that has not converged is an order
    too: it only leaves out more nodes.

    Args:
        adjacency: (N, N), every node with an edge.
        seed: Seed of the first vector.

    Returns:
        (N,) indices of nodes.
    """
    root_N = np.sqrt(np.asarray(adjacency.sum(axis=1), dtype=np.float64))
    scaled = csr_array(diags_array(1 / root_N) @ adjacency.astype(np.float64) @ diags_array(1 / root_N))
    first_N = root_N / np.linalg.norm(root_N)
    vector_N: Floats = np.random.default_rng(seed).standard_normal(len(root_N))
    for _ in range(_ROUNDS):
        vector_N = scaled @ vector_N + vector_N  # the shift keeps negative eigenvalues from winning
        vector_N -= first_N * (first_N @ vector_N)
        vector_N /= np.linalg.norm(vector_N) or 1.0
    return np.argsort(vector_N / root_N, kind="stable").astype(np.int64)


def nodes_between(adjacency: csr_array, side_N: Flags) -> Flags:
    """Return the fewest nodes whose removal leaves no edge between two sides.

    A minimum vertex cover of the edges that cross, from a maximum matching (Konig's theorem).

    Args:
        adjacency: (N, N).
        side_N: (N,) whether a node is on the first side.

    Returns:
        (N,) whether a node is to be left out.
    """
    left, right = np.flatnonzero(side_N), np.flatnonzero(~side_N)
    crossing = csr_matrix(adjacency[left][:, right], dtype=np.int32)
    partner = maximum_bipartite_matching(crossing, perm_type="column")
    matched = partner >= 0
    back = np.full(len(right), -1, dtype=np.int64)
    back[partner[matched]] = np.flatnonzero(matched)
    # what alternating paths reach from the nodes of the left that have no partner
    left_reached, right_reached = ~matched, np.zeros(len(right), dtype=bool)
    front = left_reached.copy()
    while front.any():
        found = (crossing.T @ front.astype(np.int32) > 0) & ~right_reached
        right_reached |= found
        front = np.zeros(len(left), dtype=bool)
        front[back[found]] = True  # a maximum matching leaves no found node without a partner
        front &= ~left_reached
        left_reached |= front
    between_N = np.zeros(len(side_N), dtype=bool)
    between_N[left[~left_reached]] = True
    between_N[right[right_reached]] = True
    return between_N
