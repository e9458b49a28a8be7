"""Distances between the surfaces of predicted and true masks, the same as MONAI's, without its import of seconds.

The surface of a structure is its pixels that touch another one or the border of the image. The normalised surface Dice
(NSD; Nikolov et al., Journal of Medical Internet Research 23, 2021) is the share of both surfaces that lies within a
tolerance of the other. HD95 is the larger of both 95th percentiles of distances from one surface to the other.

Shape legend: S structures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import Bits, Floats, Mask
from lorkit.decompose.artifacts.masks import counted, of_structure

_LEAF = 32  # points of a leaf: a tree that is asked once need not be fine


def surface_scores(
    found: Mask | Bits, wanted: Mask | Bits, spacing: Sequence[float], tolerances: Sequence[float]
) -> Floats:
    """Return (S, 2): NSD and HD95 of each structure.

    Ignored pixels of the true mask are background in both. Without a structure in either mask both are NaN; with it
    in one of them, NSD is 0 and HD95 is NaN.

    Args:
        found: (*spatial) predicted mask; see `artifacts.masks`.
        wanted: (*spatial) true mask of the same kind.
        spacing: Distance of neighbours along each axis.
        tolerances: (S,) tolerance of each structure, in the unit of `spacing`.
    """
    rows = np.full((len(tolerances), 2), np.nan)
    known = counted(wanted)
    for index, tolerance in enumerate(tolerances):
        one, two = (known & of_structure(mask, index + 1) for mask in (found, wanted))
        present = (one.any(), two.any())
        if all(present):
            rows[index] = _distances(*_cropped(one, two), spacing, tolerance)
        elif any(present):
            rows[index, 0] = 0.0
    return rows


def _distances(
    one: NDArray[np.bool_], two: NDArray[np.bool_], spacing: Sequence[float], tolerance: float
) -> tuple[float, float]:
    from scipy.spatial import KDTree  # takes a tenth of a second, and only masks need it

    first, second = (np.argwhere(_surface(mask)) * np.asarray(spacing, dtype=np.float64) for mask in (one, two))
    # in single precision, in which a distance of three times 0.7 is within a tolerance of 2.1
    both = [
        KDTree(end, leafsize=_LEAF).query(start)[0].astype(np.float32)
        for start, end in ((first, second), (second, first))
    ]
    within = sum(int(np.count_nonzero(distances <= np.float32(tolerance))) for distances in both)
    hd95 = max(float(np.percentile(distances.astype(np.float64), 95)) for distances in both)
    return within / (len(first) + len(second)), hd95


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of a mask with a neighbour along an axis that is not in it, or beyond the border."""
    inside = mask.copy()
    for axis in range(mask.ndim):
        rows, moved = np.moveaxis(inside, axis, 0), np.moveaxis(mask, axis, 0)
        rows[1:] &= moved[:-1]
        rows[:-1] &= moved[1:]
        rows[0] = rows[-1] = False
    return mask & ~inside


def _cropped(one: NDArray[np.bool_], two: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Cut both masks to their common box, which saves most of the time: what touches its border is surface anyway."""
    either = one | two
    places = []
    for axis in range(either.ndim):
        filled = np.flatnonzero(either.any(axis=tuple(other for other in range(either.ndim) if other != axis)))
        places.append(slice(int(filled[0]), int(filled[-1]) + 1))
    box = tuple(places)
    return np.ascontiguousarray(one[box]), np.ascontiguousarray(two[box])
