"""Dice of predicted masks by structure, with intervals over patients.

Scores are computed from counts of pixels per sample, so that maps need not be stored. The Dice of a structure that is
in neither mask is undefined and not counted; a structure in only one of them has Dice 0.

Shape legend: N samples, K channels (background first), S = K - 1 structures, R bootstrap replicates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lorkit.decompose.artifacts.arrays import IGNORED, Floats, Ints
from lorkit.decompose.errors import DataError
from lorkit.decompose.metrics.bootstrap import interval, mean_defined, number, resample, safe_divide

REPLICATES = 1000


def overlap_counts(logits: ArrayLike, masks: ArrayLike) -> Ints:
    """Return (N, S, 3) pixels of each structure: in both masks, in the predicted one, in the true one.

    Args:
        logits: (N, K, *spatial); the largest decides a pixel, the first of equal ones.
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
        raise DataError("logits with NaN or infinite values", required="finite logits", fix="check model and images")
    predicted, counted = logit.argmax(1), (mask != IGNORED).reshape(len(mask), -1)
    rows = []
    for structure in range(1, logit.shape[1]):
        one, two = (counted & (values.reshape(len(mask), -1) == structure) for values in (predicted, mask))
        rows.append(np.stack([(one & two).sum(1), one.sum(1), two.sum(1)], axis=1))
    return np.stack(rows, axis=1).astype(np.int64)


def dice(counts_NS3: ArrayLike) -> Floats:
    """Return the (N, S) Dice of each sample and structure; NaN if neither mask has the structure."""
    counts = np.asarray(counts_NS3, dtype=np.float64)
    return safe_divide(2 * counts[..., 0], counts[..., 1] + counts[..., 2])


def overlap_scores(
    counts_NS3: ArrayLike, groups: ArrayLike, structures: Sequence[str], *, seed: int = 0
) -> dict[str, Any]:
    """Score counts of pixels.

    Args:
        counts_NS3: Of `overlap_counts`.
        groups: (N,) patient (or other cluster) of each sample; groups are resampled as a whole.
        structures: Names of the S structures.
        seed: Seed of the bootstrap.

    Returns:
        `n`, `groups`, `dice` (mean over structures of the mean over samples, None if a structure has no sample), `ci`
        (None for a single group), and `per_structure`: `n` samples whose true mask has it, `defined` samples with a
        Dice, `dice`, `ci`. A replicate's mean omits structures without a defined sample.
    """
    counts = np.asarray(counts_NS3)
    case_NS, group_N = dice(counts), np.asarray(groups)
    draws = resample(group_N, seed=seed, replicates=REPLICATES)
    point_S = mean_defined(case_NS.T)
    spread_RS = draws.means(case_NS)
    several = draws.counts_RG.shape[1] > 1  # a single group has no interval
    whole = bool(np.isfinite(point_S).all())
    rows = [
        {
            "structure": name,
            "n": int((counts[:, index, 2] > 0).sum()),
            "defined": int(np.isfinite(case_NS[:, index]).sum()),
            "dice": number(point_S[index]),
            "ci": interval(spread_RS[:, index]) if several else None,
        }
        for index, name in enumerate(structures)
    ]
    return {
        "n": len(counts),
        "groups": draws.counts_RG.shape[1],
        "dice": float(point_S.mean()) if whole else None,
        "ci": {"dice": interval(mean_defined(spread_RS)) if whole and several else None},
        "per_structure": rows,
    }


def mask_dice(found: NDArray[Any], wanted: NDArray[Any], structures: int) -> Floats:
    """Return the Dice coefficient of each structure in two masks of equal shape, (S,); NaN if neither has it."""
    masks = (found[found == wanted], found, wanted)
    pixels = [np.bincount(mask.ravel(), minlength=structures + 1)[1 : structures + 1] for mask in masks]
    return dice(np.stack(pixels, axis=-1))
