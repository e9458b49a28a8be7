"""Scores of predicted masks by structure, with intervals over patients.

Scores are computed from a row of numbers per sample, so that maps need not be stored. The Dice of a structure that is
in neither mask is undefined and not counted; a structure in only one of them has Dice 0.

Shape legend: N samples, K channels (background first), S = K - 1 structures, R bootstrap replicates; a row has 8
columns: `COUNTS` on the original grid, `NETWORK_COUNTS` on the network's, `NSD` and `HD95`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lorkit.decompose.artifacts.arrays import IGNORED, Floats, Ints
from lorkit.decompose.errors import DataError
from lorkit.decompose.metrics.bootstrap import Resampling, interval, mean_defined, number, resample, safe_divide

REPLICATES = 1000
COUNTS, NETWORK_COUNTS = slice(0, 3), slice(3, 6)
"""Columns of pixels in both masks, in the predicted one, in the true one."""
NSD, HD95, COLUMNS = 6, 7, 8


def mask_counts(found: NDArray[Any], wanted: NDArray[Any], structures: int) -> Ints:
    """Return (S, 3) pixels of each structure: in both masks, in the predicted one, in the true one.

    Args:
        found: Predicted mask, whole numbers.
        wanted: True mask of equal shape, or `IGNORED` where a pixel counts nowhere.
        structures: S.
    """
    counted = wanted != IGNORED
    masks = (found[counted & (found == wanted)], found[counted], wanted[counted])
    columns = [np.bincount(mask.ravel(), minlength=structures + 1)[1 : structures + 1] for mask in masks]
    return np.stack(columns, axis=-1).astype(np.int64)


def overlap_counts(logits: ArrayLike, masks: ArrayLike) -> Ints:
    """Return the (N, S, 3) `mask_counts` of the largest logit of each pixel, the first of equal ones.

    Args:
        logits: (N, K, *spatial).
        masks: (N, *spatial) whole numbers below K, or `IGNORED` where a pixel counts nowhere.

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
    structures, found = logit.shape[1] - 1, logit.argmax(1)
    rows = [mask_counts(one, two.astype(np.int64), structures) for one, two in zip(found, mask, strict=True)]
    return np.stack(rows) if rows else np.zeros((0, structures, 3), dtype=np.int64)


def dice(counts_NS3: ArrayLike) -> Floats:
    """Return the (N, S) Dice of each sample and structure; NaN if neither mask has the structure."""
    counts = np.asarray(counts_NS3, dtype=np.float64)
    return safe_divide(2 * counts[..., 0], counts[..., 1] + counts[..., 2])


def mask_scores(rows_NS8: ArrayLike, groups: ArrayLike, structures: Sequence[str], *, seed: int = 0) -> dict[str, Any]:
    """Score masks.

    Args:
        rows_NS8: (N, S, 8) numbers of each sample and structure.
        groups: (N,) patient (or other cluster) of each sample; groups are resampled as a whole.
        structures: Names of the S structures.
        seed: Seed of the bootstrap.

    Returns:
        `n`, `groups`, each metric (mean over structures of the mean over samples, None if a structure has no sample),
        `ci` by metric (None for a single group), and `per_structure`: `n` samples whose true mask has it, `defined`
        samples with a Dice, `hd95_undefined` those of them without HD95, metrics and intervals. A replicate's mean
        omits structures without a defined sample.
    """
    row_NS8 = np.asarray(rows_NS8, dtype=np.float64)
    draws = resample(np.asarray(groups), seed=seed, replicates=REPLICATES)
    cases = {
        "dice": dice(row_NS8[..., COUNTS]),
        "nsd": row_NS8[..., NSD],
        "hd95": row_NS8[..., HD95],
        "dice_network_grid": dice(row_NS8[..., NETWORK_COUNTS]),
    }
    defined_NS = np.isfinite(cases["dice"])
    found = {metric: _summary(case_NS, draws) for metric, case_NS in cases.items()}
    rows = [
        {
            "structure": name,
            "n": int((row_NS8[:, index, 2] > 0).sum()),
            "defined": int(defined_NS[:, index].sum()),
            "hd95_undefined": int((defined_NS & ~np.isfinite(cases["hd95"]))[:, index].sum()),
            **{metric: one["structures"][index] for metric, one in found.items()},
            "ci": {metric: one["structure_ci"][index] for metric, one in found.items()},
        }
        for index, name in enumerate(structures)
    ]
    return {
        "n": len(row_NS8),
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
