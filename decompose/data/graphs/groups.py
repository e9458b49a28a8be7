"""Groups of neighbours: which group a node counts for, and how a group is written to the input of a node.

Shapes: N nodes of the graph, M nodes asked for, C classes, F features.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array, Floats, Ints


def views(visible_N: Ints, classes: int, nodes_M: Ints, folds_N: Ints | None) -> Iterator[tuple[Ints, Ints]]:
    """Yield places in `nodes_M`, and the group (N,) of each node as these nodes see it.

    A node of a visible label is in the group of its class, any other in group C. Nodes of one fold see no label of
    their fold, so there is one view for each fold; without folds there is one view.
    """
    groups_N = np.where(visible_N < 0, classes, visible_N)
    if folds_N is None:
        yield np.arange(len(nodes_M)), groups_N
        return
    for fold in np.unique(folds_N[nodes_M]):
        yield np.flatnonzero(folds_N[nodes_M] == fold), np.where(folds_N == fold, classes, groups_N)


def write(target_MD: Float32Array, places: Ints, sums_NF: Floats, counts_N: Ints, sizes_N: Ints) -> None:
    """Write mean features, zeros of an empty group, and log1p of a size to rows of (M, F+1)."""
    features = sums_NF.shape[1]
    filled = counts_N > 0  # by count: the sum of an empty group may be left with rounding
    means = np.divide(sums_NF, counts_N[:, None], where=filled[:, None], out=np.zeros_like(sums_NF))
    target_MD[places, :features] = means
    target_MD[places, features] = np.log1p(sizes_N)
