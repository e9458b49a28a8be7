"""Groups of neighbours: which group a node counts for, and how a group is written to the input of a node.

Shapes: N nodes of the graph, M nodes asked for, C classes, F features.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from lorkit.decompose.artifacts.arrays import Floats, Ints

Places: TypeAlias = Ints | slice
"""Places in the nodes asked for: a slice where they are all of them, which costs less to write to."""


def views(visible_N: Ints, classes: int, nodes_M: Ints, folds_N: Ints | None) -> Iterator[tuple[Places, Ints]]:
    """Yield places in `nodes_M`, and the group (N,) of each node as these nodes see it.

    A node of a visible label is in the group of its class, any other in group C. Nodes of one fold see no label of
    their fold, so there is one view for each fold; without folds there is one view.
    """
    groups_N = np.where(visible_N < 0, classes, visible_N)
    if folds_N is None:
        yield slice(0, len(nodes_M)), groups_N
        return
    for fold in np.unique(folds_N[nodes_M]):
        yield np.flatnonzero(folds_N[nodes_M] == fold), np.where(folds_N == fold, classes, groups_N)


def mean_and_size(sums_NF: Floats, counts_N: Ints, sizes_N: Ints | None = None) -> Floats:
    """Return (N, F+1): mean features, zeros of an empty group, and log1p of a size, by default of the count."""
    means_NF = sums_NF / np.maximum(counts_N, 1)[:, None]
    means_NF[counts_N == 0] = 0  # the sum of an empty group may be left with rounding
    return np.column_stack([means_NF, np.log1p(counts_N if sizes_N is None else sizes_N)])
