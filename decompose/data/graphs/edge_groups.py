"""Sums of features by group over the neighbours of a node, by sparse products.

Within k hops are the nodes that k steps along edges or fewer reach: B_k = 1[(A + I)^k > 0], so it holds the nearer ones
and no node twice. Shapes: N nodes, M nodes asked for, C classes, F features, E non-zeros of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array, eye_array

from lorkit.decompose.artifacts.arrays import Floats, Ints
from lorkit.decompose.data.graphs.blocks import row_blocks
from lorkit.decompose.events import Listener, ignore, with_progress

ENTRY_BYTES = 48
"""Of each non-zero of a block: two matrices of near nodes, its group and place, and one group's index and float64."""


def group_sums(
    neighbours: csr_array,
    features_NF: Floats,
    groups_N: Ints,
    classes: int,
    hops: int,
    nodes_M: Ints,
    *,
    text: str = "",
    on_event: Listener = ignore,
) -> Iterator[tuple[slice, int, int, Floats, Ints]]:
    """Yield a slice of `nodes_M`, hop, group, and sums and counts of that group within these hops of those nodes.

    Neighbours of a node are in their group; the node itself is in group C, whatever its own.

    Args:
        neighbours: (N, N) binary without self-loops, row v the nodes with an edge to v.
        features_NF: (N, F) features.
        groups_N: (N,) group of each node, 0 to C.
        classes: C.
        hops: Largest number of hops.
        nodes_M: (M,) nodes to sum for.
        text: The work, for progress.
        on_event: Told progress.
    """
    twins = _Twins.of(neighbours) if hops > 1 else None
    reach_N = np.diff(neighbours.indptr) if twins is None else twins.reach(hops)
    blocks = row_blocks(reach_N[nodes_M], features_NF.shape[1], ENTRY_BYTES)
    codes_N = groups_N.astype(np.min_scalar_type(-classes - 1))
    for block in with_progress(blocks, text, on_event):
        rows = nodes_M[block]
        near = neighbours[rows]
        for hop in range(1, hops + 1):
            if twins is not None and hop > 1:
                near = twins.step(near if hop > 2 else twins.closed[rows])
            for group, sums, counts in _sums(near, rows, features_NF, codes_N, classes):
                yield block, hop, group, sums, counts


def near_nodes(neighbours: csr_array, hops: int, nodes_M: Ints) -> Iterator[csr_array]:
    """Yield blocks of rows, (rows, N) of booleans: the nodes within some hops of each, itself among them if hops > 1.

    Args:
        neighbours: As for `group_sums`.
        hops: Number of hops.
        nodes_M: (M,) nodes to find them for.
    """
    twins = _Twins.of(neighbours) if hops > 1 else None
    reach_N = np.diff(neighbours.indptr) if twins is None else twins.reach(hops)
    for block in row_blocks(reach_N[nodes_M], 0, ENTRY_BYTES):
        near = csr_array((neighbours if twins is None else twins.closed)[nodes_M[block]], dtype=np.bool_)
        for _ in range(hops - 1):
            assert twins is not None
            near = twins.step(near)
        yield near


def _sums(
    near: csr_array, rows: Ints, features_NF: Floats, codes_N: Ints, classes: int
) -> Iterator[tuple[int, Floats, Ints]]:
    """Yield group, sums and counts over the nodes of each row of a matrix."""
    codes_E = codes_N[near.indices]
    codes_E[near.indices == np.repeat(rows.astype(near.indices.dtype), np.diff(near.indptr))] = -1
    for group in range(classes + 1):
        used_E = codes_E == group
        starts = np.concatenate([[0], np.cumsum(used_E)])[near.indptr]
        indices = near.indices[used_E]
        part = csr_array((np.ones(len(indices)), indices, starts), shape=near.shape)
        sums, counts = part @ features_NF, np.diff(starts)
        if group == classes:
            sums, counts = sums + features_NF[rows], counts + 1
        yield group, sums, counts


@dataclass(frozen=True, eq=False)
class _Twins:
    """Nodes with the same neighbours and themselves, which reach the same nodes: a step needs one node of each set.

    Where a shared key made the edges, as in YelpChi, each clique is one set and a step costs no more than its result.
    T sets of twins. All matrices are boolean: their product is an `or`, and cannot overflow as one of uint8 can.

    Attributes:
        closed: (N, N) A + I.
        sets: (N, T) the set of each node.
        firsts_T: One node of each set.
        step_of_set: (T, N) A + I of these nodes.
    """

    closed: csr_array
    sets: csr_array
    firsts_T: Ints
    step_of_set: csr_array

    @classmethod
    def of(cls, neighbours: csr_array) -> _Twins:
        nodes = neighbours.shape[0]
        closed = csr_array(neighbours.astype(np.bool_) + eye_array(nodes, dtype=np.bool_, format="csr"))
        closed.sort_indices()
        marks_N = np.random.default_rng(0).integers(2**62, size=nodes)
        _, firsts_T, set_N = np.unique(closed @ marks_N, return_index=True, return_inverse=True)
        same = closed[firsts_T[set_N]]
        if not (np.array_equal(same.indptr, closed.indptr) and np.array_equal(same.indices, closed.indices)):
            firsts_T = set_N = np.arange(nodes)  # two sums of marks are equal by chance
        ones_N, starts_N = np.ones(nodes, dtype=np.bool_), np.arange(nodes + 1)
        sets = csr_array((ones_N, set_N, starts_N), shape=(nodes, len(firsts_T)))
        return cls(closed, sets, firsts_T, closed[firsts_T])

    def step(self, near: csr_array) -> csr_array:
        """Return the nodes one step further, the nearer ones among them, of rows of nodes."""
        return csr_array((near @ self.sets) @ self.step_of_set)

    def reach(self, hops: int) -> Ints:
        """Return (N,) upper bounds of the number of nodes within some hops, at most all."""
        sets = csr_array(self.closed @ self.sets)
        reach_N = np.diff(self.closed.indptr).astype(np.float64)
        for _ in range(hops - 1):
            reach_N = np.minimum(len(reach_N), sets @ reach_N[self.firsts_T])
        return np.asarray(reach_N, dtype=np.int64)
