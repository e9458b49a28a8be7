"""Scores of predicted masks by structure, with intervals over patients.

Scores are computed from a row of numbers per sample, so that maps need not be stored. `EMPTY_CASES` says what counts
where a mask lacks a structure.

Shape legend: N samples, K channels (background first, if there is one), S structures, R bootstrap replicates; a row has
9 columns: `COUNTS` on the original grid, `NETWORK_COUNTS` on the network's, `NSD`, `HD95` and `VOXEL`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lorkit.decompose.artifacts.arrays import Floats, Ints
from lorkit.decompose.artifacts.masks import counted, join_structures, may_overlap, of_structure
from lorkit.decompose.errors import DataError
from lorkit.decompose.metrics.bootstrap import Resampling, interval, mean_defined, number, resample, safe_divide

REPLICATES = 1000
COUNTS, NETWORK_COUNTS = slice(0, 3), slice(3, 6)
"""Columns of pixels in both masks, in the predicted one, in the true one."""
NSD, HD95, VOXEL, COLUMNS = 6, 7, 8, 9
"""The last column is the size of a pixel or voxel: ml or mm2 where the spacing is known, else 1."""
EMPTY_CASES = (
    "A structure in neither mask of a case: no Dice, NSD or HD95, and a difference of volumes of 0. In one mask only: "
    "Dice and NSD are 0, and HD95 is undefined. The relative difference of volumes is of cases whose true mask has it."
)
"""The rule for masks that lack a structure."""


def mask_counts(found: NDArray[Any], wanted: NDArray[Any], structures: int) -> Ints:
    """Return (S, 3) pixels of each structure: in both masks, in the predicted one, in the true one.

    Args:
        found: Predicted mask, whole numbers, or uint32 if structures may overlap; see `artifacts.masks`.
        wanted: True mask of equal shape and kind; ignored pixels count nowhere.
        structures: S.
    """
    known = counted(wanted)
    if may_overlap(wanted):
        rows = [
            _overlap(known & of_structure(found, one), of_structure(wanted, one)) for one in range(1, structures + 1)
        ]
        return np.array(rows, dtype=np.int64)
    masks = (found[known & (found == wanted)], found[known], wanted[known])
    columns = [np.bincount(mask.ravel(), minlength=structures + 1)[1 : structures + 1] for mask in masks]
    return np.stack(columns, axis=-1).astype(np.int64)


def _overlap(found: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> tuple[int, int, int]:
    return int((found & wanted).sum()), int(found.sum()), int(wanted.sum())


def overlap_counts(logits: ArrayLike, masks: ArrayLike) -> Ints:
    """Return the (N, S, 3) `mask_counts` of the largest logit of each pixel, the first of equal ones.

    Args:
        logits: (N, K, *spatial). If structures may overlap, K is S, and logits above 0 have the structure.
        masks: (N, *spatial) whole numbers below K, or ignored; uint32 if structures may overlap.

    Raises:
        DataError: Shapes do not match, or a logit is not finite.
    """
    logit, mask = np.asarray(logits), np.asarray(masks)
    if logit.ndim < 3 or (logit.shape[0], *logit.shape[2:]) != mask.shape:
        raise DataError(
            f"logits {logit.shape} and masks {mask.shape}",
            required="(N, K, *spatial) and (N, *spatial)",
            fix="score the same samples at the same size",
        )
    if not np.isfinite(logit).all():
        raise DataError("logits with NaN or infinite values", required="finite logits", fix="check model and data")
    if may_overlap(mask):
        structures, found = logit.shape[1], [join_structures(one > 0) for one in logit]
    else:
        structures, found, mask = logit.shape[1] - 1, list(logit.argmax(1)), mask.astype(np.int64)
    rows = [mask_counts(one, two, structures) for one, two in zip(found, mask, strict=True)]
    return np.stack(rows) if rows else np.zeros((0, structures, 3), dtype=np.int64)


def dice(counts_NS3: ArrayLike) -> Floats:
    """Return the (N, S) Dice of each sample and structure; NaN if neither mask has the structure."""
    counts = np.asarray(counts_NS3, dtype=np.float64)
    return safe_divide(2 * counts[..., 0], counts[..., 1] + counts[..., 2])


def volume_differences(rows_NS9: ArrayLike) -> tuple[Floats, Floats]:
    """Return (N, S) each: predicted minus true volume, and its share of the true one; NaN if that is empty."""
    row_NS9 = np.asarray(rows_NS9, dtype=np.float64)
    found_NS, wanted_NS = row_NS9[..., COUNTS][..., 1], row_NS9[..., COUNTS][..., 2]
    return (found_NS - wanted_NS) * row_NS9[..., VOXEL], safe_divide(found_NS - wanted_NS, wanted_NS)


def mask_scores(rows_NS9: ArrayLike, groups: ArrayLike, structures: Sequence[str], *, seed: int = 0) -> dict[str, Any]:
    """Score masks.

    Args:
        rows_NS9: (N, S, 9) numbers of each sample and structure.
        groups: (N,) patient (or other cluster) of each sample; groups are resampled as a whole.
        structures: Names of the S structures.
        seed: Seed of the bootstrap.

    Returns:
        `n`, `groups`, each metric (mean over structures of the mean over samples, None if a structure has no sample),
        `ci` by metric (None for a single group), and `per_structure`: `n` samples whose true mask has it, `defined`
        samples with a Dice, `hd95_undefined` those of them without HD95, `empty` samples whose true mask lacks it,
        `false` those of them whose predicted mask has it, `missed` samples of `n` whose predicted mask lacks it,
        metrics and intervals. A replicate's mean omits structures without a defined sample.
    """
    row_NS9 = np.asarray(rows_NS9, dtype=np.float64)
    bias_NS, relative_NS = volume_differences(row_NS9)
    draws = resample(np.asarray(groups), seed=seed, replicates=REPLICATES)
    cases = {
        "dice": dice(row_NS9[..., COUNTS]),
        "nsd": row_NS9[..., NSD],
        "hd95": row_NS9[..., HD95],
        "dice_network_grid": dice(row_NS9[..., NETWORK_COUNTS]),
        "volume_bias": bias_NS,
        "volume_bias_relative": relative_NS,
    }
    found_NS, true_NS = row_NS9[..., COUNTS][..., 1] > 0, row_NS9[..., COUNTS][..., 2] > 0
    defined_NS = np.isfinite(cases["dice"])
    found = {metric: _summary(case_NS, draws) for metric, case_NS in cases.items()}
    rows = [
        {
            "structure": name,
            "n": int(true_NS[:, index].sum()),
            "empty": int((~true_NS)[:, index].sum()),
            "false": int((found_NS & ~true_NS)[:, index].sum()),
            "missed": int((true_NS & ~found_NS)[:, index].sum()),
            "defined": int(defined_NS[:, index].sum()),
            "hd95_undefined": int((defined_NS & ~np.isfinite(cases["hd95"]))[:, index].sum()),
            **{metric: one["structures"][index] for metric, one in found.items()},
            "ci": {metric: one["structure_ci"][index] for metric, one in found.items()},
        }
        for index, name in enumerate(structures)
    ]
    return {
        "n": len(row_NS9),
        "groups": draws.counts_RG.shape[1],
        **{metric: one["mean"] for metric, one in found.items()},
        "ci": {metric: one["ci"] for metric, one in found.items()},
        "per_structure": rows,
    }


def _summary(case_NS: Floats, draws: Resampling) -> dict[str, Any]:
    """Return the mean of one metric by structure and over structures, with intervals."""
    point_S, spread_RS = mean_defined(case_NS.T), draws.means(case_NS)
    several = draws.counts_RG.shape[1] > 1  # a single group has no interval
    whole = bool(np.isfinite(point_S).all())
    return {
        "mean": float(point_S.mean()) if whole else None,
        "ci": interval(mean_defined(spread_RS)) if whole and several else None,
        "structures": [number(value) for value in point_S],
        "structure_ci": [interval(column) if several else None for column in spread_RS.T],
    }


def mask_dice(found: NDArray[Any], wanted: NDArray[Any], structures: int) -> Floats:
    """Return the Dice coefficient of each structure in two masks of equal shape, (S,); NaN if neither has it."""
    return dice(mask_counts(found, wanted, structures))
