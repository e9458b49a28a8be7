"""Cut a graph in two sides that no edge joins, by leaving out few nodes.

Shapes: N nodes; matrices are symmetric with ones for edges.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix, diags_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from lorkit.decompose.artifacts.arrays import Floats, Ints

Flags = NDArray[np.bool_]
_ROUNDS = 100


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
