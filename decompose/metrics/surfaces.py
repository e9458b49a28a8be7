"""Distances between the surfaces of predicted and true masks, by MONAI's functions.

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
    import torch  # MONAI's import takes seconds, and only masks need it
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.surface_dice import compute_surface_dice

    first, second = (torch.from_numpy(mask[None, None]) for mask in (one, two))
    sides = [float(side) for side in spacing]
    nsd = compute_surface_dice(first, second, [tolerance], include_background=True, spacing=sides)
    hd95 = compute_hausdorff_distance(first, second, include_background=True, percentile=95, spacing=sides)
    return float(nsd), float(hd95)


def _cropped(one: NDArray[np.bool_], two: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Cut both masks to their common box, which saves most of the time: what touches its border is surface anyway."""
    either = one | two
    places = []
    for axis in range(either.ndim):
        filled = np.flatnonzero(either.any(axis=tuple(other for other in range(either.ndim) if other != axis)))
        places.append(slice(int(filled[0]), int(filled[-1]) + 1))
    box = tuple(places)
    return np.ascontiguousarray(one[box]), np.ascontiguousarray(two[box])
