"""Sums of features by group over the nodes that share a key, without a matrix of pairs: O(N F).

Shapes: N nodes, C classes, F features, K keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_banded
from scipy.sparse import csr_array

from lorkit.decompose.artifacts.arrays import Float32Array, Floats, Ints
from lorkit.decompose.data.graphs.graph import NO_KEY
from lorkit.decompose.data.graphs.groups import mean_and_size


def key_groups(
    keys_N: Ints, features_NF: Floats, groups_N: Ints, classes: int, nodes_M: Ints
) -> Iterator[tuple[int, Float32Array]]:
    """Yield group, and mean and size (M, F+1) of the other nodes of each node's key that are in it.

    A node itself is in group C, whatever its own; one without a key (-1) is alone.

    Args:
        keys_N: (N,) key of each node, -1 without one.
        features_NF: (N, F) features.
        groups_N: (N,) group of each node, 0 to C.
        classes: C.
        nodes_M: (M,) nodes to return.
    """
    keys_N = _alone_without_key(keys_N)
    count = int(keys_N.max(initial=-1)) + 1
    for group in range(classes + 1):
        own_N = groups_N == group
        sums, counts = key_sums(keys_N, features_NF, np.flatnonzero(own_N), count)
        found = mean_and_size(sums, counts).astype(np.float32)[keys_N[nodes_M]]
        # few nodes are moved out of their class and into group C; all others have the row of their key
        moved = np.flatnonzero((own_N if group < classes else ~own_N)[nodes_M])
        rows, step = nodes_M[moved], -1 if group < classes else 1
        found[moved] = mean_and_size(sums[keys_N[rows]] + step * features_NF[rows], counts[keys_N[rows]] + step)
        yield group, found


def key_members(keys_N: Ints, features_NF: Floats, nodes_M: Ints) -> Float32Array:
    """Return the mean (M, F+1) of all nodes of each node's key, itself among them, and the number of the others."""
    keys_N = _alone_without_key(keys_N)
    sums, counts = key_sums(keys_N, features_NF, np.arange(len(keys_N)), int(keys_N.max(initial=-1)) + 1)
    found: Float32Array = mean_and_size(sums, counts, np.maximum(counts - 1, 0)).astype(np.float32)[keys_N[nodes_M]]
    return found


def key_sums(keys_N: Ints, features_NF: Floats, nodes: Ints, count: int) -> tuple[Floats, Ints]:
    """Return sums (K, F) and counts (K,) by key over some nodes."""
    keys = keys_N[nodes]
    counts = np.bincount(keys, minlength=count)
    starts = np.concatenate([[0], np.cumsum(counts)])
    by_key = nodes[np.argsort(keys, kind="stable")]
    one_hot = csr_array((np.ones(len(nodes)), by_key, starts), shape=(count, len(keys_N)))
    return one_hot @ features_NF, counts


def _alone_without_key(keys_N: Ints) -> Ints:
    """Give each node without a key one of its own."""
    missing_N = keys_N == NO_KEY
    first = int(keys_N.max(initial=-1)) + 1
    return np.where(missing_N, first + np.cumsum(missing_N) - 1, keys_N)


@dataclass(frozen=True, eq=False)
class Stream:
    """Nodes of one key in the order in which they arrive, key after key; a node sees those before it.

    Attributes:
        order_N: Node at each place.
        start_N: First place of the key at each place.
        known_N: For each place, the place up to which labels of its key are known: those of earlier nodes that came
            the delay before it, or longer.
    """

    order_N: Ints
    start_N: Ints
    known_N: Ints

    @classmethod
    def of(cls, keys_N: Ints, times_N: Floats, label_delay: float) -> Stream:
        """Sort nodes by key, then time, then their order in the data."""
        keys_N = _alone_without_key(keys_N)
        order_N = np.lexsort((times_N, keys_N))  # stable: equal times keep their order
        keys, times, places = keys_N[order_N], times_N[order_N], np.arange(len(keys_N))
        start_N = np.maximum.accumulate(np.where(np.diff(keys, prepend=-1) != 0, places, 0))
        # labels and nodes in one sequence, a label before a node of the same time
        kind = np.repeat([0, 1], len(keys))
        merged = np.lexsort((kind, np.concatenate([times + label_delay, times]), np.tile(keys, 2)))
        # labels of this and all earlier keys before each node; nodes come in `order_N`, so this is a place
        labels = np.cumsum(kind[merged] == 0)[kind[merged] == 1]
        return cls(order_N, start_N, np.clip(labels, start_N, places))

    def group_sums(self, features_NF: Floats, groups_N: Ints, classes: int) -> Iterator[tuple[int, Floats, Ints]]:
        """Yield group, sums (N, F) and counts (N,) over the earlier nodes of each node's key, without the node itself.

        A node is in group C until its label is known.
        """
        places_N = np.arange(len(self.order_N))
        groups_N = groups_N[self.order_N]
        late, late_counts = np.zeros(features_NF.shape), np.zeros(len(places_N))
        for group in range(classes + 1):
            one_N = (groups_N == group).astype(np.float64)
            sums, counts = self._sums(features_NF[self.order_N] * one_N[:, None]), self._sums(one_N)
            now, now_counts = self._before(sums, places_N), self._before(counts, places_N)
            if group < classes:
                known, known_counts = self._before(sums, self.known_N), self._before(counts, self.known_N)
                late += now - known
                late_counts += now_counts - known_counts
                now, now_counts = known, known_counts
            else:
                now, now_counts = now + late, now_counts + late_counts
            yield group, self._back(now), self._back(now_counts).astype(np.int64)

    def members(self, features_NF: Floats) -> tuple[Floats, Ints]:
        """Return sums (N, F) and counts (N,) over the earlier nodes of each node's key and the node itself."""
        places_N = np.arange(len(self.order_N))
        counts = self._back((places_N - self.start_N + 1).astype(np.float64))
        return self._back(self._sums(features_NF[self.order_N])), counts.astype(np.int64)

    def _sums(self, values: Floats) -> Floats:
        """Return running sums that begin again at each key.

        They solve x[i] - x[i-1] = values[i], without the second term at the first place of a key. The solver works by
        forward elimination, so each sum adds the values of its key in order; a running sum over all keys would lose
        the digits of a small key after a large one.
        """
        bands = np.zeros((3, len(values)))
        bands[1] = 1
        bands[2, :-1] = -(self.start_N[1:] != np.arange(1, len(values))).astype(np.float64)
        return np.asarray(solve_banded((1, 1), bands, values, check_finite=False))

    def _before(self, sums: Floats, end_N: Ints) -> Floats:
        """Return the sum over the places of a key before `end_N`."""
        found = sums[np.maximum(end_N - 1, 0)]
        found[end_N <= self.start_N] = 0
        return found

    def _back(self, values: Floats) -> Floats:
        """Return values by place as values by node."""
        found = np.empty_like(values)
        found[self.order_N] = values
        return found
