"""Confidence intervals from resampled groups (patients), as matrix products instead of loops.

Images of one patient are not independent, so whole groups are drawn with replacement. A replicate is a row with the
number of draws of each group; metrics that are ratios of sums over cases are then matrix products with sums by group.

Shape legend: R replicates, G groups, N cases.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lorkit.decompose.artifacts.arrays import Floats, Ints
from lorkit.decompose.errors import DataError

CHUNK = 4_000_000
"""Maximum size of a block of replicate-by-case weights (32 MB)."""


class Resampling(NamedTuple):
    """Drawn groups: `counts_RG` (draws of each group in each replicate), `group_N` (the group of each case)."""

    counts_RG: Floats
    group_N: Ints

    def totals(self, values: Floats) -> Floats:
        """Sum per-case values over each replicate: (N, ...) -> (R, ...)."""
        sums = sum_groups(values, self.group_N, self.counts_RG.shape[1])
        totals_RK: Floats = self.counts_RG @ sums.reshape(len(sums), -1)
        return totals_RK.reshape(-1, *values.shape[1:])

    def means(self, cases_NS: Floats) -> Floats:
        """Return the mean of the defined values in each replicate, (R, S)."""
        known = np.isfinite(cases_NS)
        return safe_divide(self.totals(np.where(known, cases_NS, 0.0)), self.totals(known.astype(np.float64)))

    def blocks(self) -> list[slice]:
        """Slices of replicates, small enough for one weight per case."""
        step = max(1, CHUNK // max(1, len(self.group_N)))
        return [slice(start, start + step) for start in range(0, len(self.counts_RG), step)]


def sum_groups(values: NDArray[Any], group_N: Ints, groups: int) -> Floats:
    """Sum per-case values over each of the groups: (N, ...) -> (G, ...)."""
    flat_NK = values.reshape(len(values), -1).astype(np.float64)
    sums_GK = np.stack([np.bincount(group_N, column, minlength=groups) for column in flat_NK.T], axis=1).astype(
        np.float64
    )
    return sums_GK.reshape(groups, *values.shape[1:])


def resample(groups: ArrayLike, *, seed: int, replicates: int) -> Resampling:
    """Draw as many groups as there are, with replacement, `replicates` times.

    Args:
        groups: (N,) group of each case; any type that sorts.
        seed: Equal seeds and groups give equal draws.
        replicates: Number of draws.
    """
    names, group_N = np.unique(np.asarray(groups), return_inverse=True)
    total = len(names)
    drawn = np.random.default_rng(seed).integers(0, total, size=(replicates, total))
    rows = np.arange(replicates, dtype=np.int64)[:, None] * total
    counts = np.bincount((drawn + rows).ravel(), minlength=replicates * total)
    return Resampling(counts.reshape(replicates, total).astype(np.float64), group_N.astype(np.int64))


def weighted_totals(sums_GK: Floats, *, seed: int, replicates: int) -> tuple[Floats, Floats]:
    """Sum values of groups with random weights: the Bayesian bootstrap of Rubin (Annals of Statistics 9, 1981).

    Weights are independent and exponential with mean 1; divided by their sum they have a Dirichlet distribution. They
    are never 0, so a class of few groups is in every replicate.

    Args:
        sums_GK: (G, K) values of each group.
        seed: Equal seeds and numbers of groups give equal weights.
        replicates: Number R of replicates.

    Returns:
        The (R, K) weighted sums, and the (R,) weights of one further group.
    """
    total = len(sums_GK)
    generator = np.random.default_rng(seed)
    totals_RK, further_R = np.empty((replicates, sums_GK.shape[1])), np.empty(replicates)
    step = max(1, CHUNK // (total + 1))
    for start in range(0, replicates, step):
        part = slice(start, min(start + step, replicates))
        weight_RG = generator.standard_exponential((part.stop - start, total + 1))
        totals_RK[part], further_R[part] = weight_RG[:, :total] @ sums_GK, weight_RG[:, total]
    return totals_RK, further_R


def interval(values_R: Floats, *, level: float = 0.95) -> list[float] | None:
    """Return the percentile interval of the defined replicates; None if there are none."""
    defined = values_R[np.isfinite(values_R)]
    if not len(defined):
        return None
    tail = (1.0 - level) / 2
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return [float(low), float(high)]


def check_scores(labels: ArrayLike, logits: ArrayLike, groups: ArrayLike) -> tuple[Ints, Floats, NDArray[Any]]:
    """Return (N,) labels, (N, C) logits and (N,) groups as arrays.

    Raises:
        DataError: Shapes do not match, a label is out of range, or a logit is not finite.
    """
    label_N, logit_NC = np.asarray(labels, dtype=np.int64), np.asarray(logits, dtype=np.float64)
    group_N = np.asarray(groups)
    if logit_NC.ndim != 2 or not len(label_N) == len(logit_NC) == len(group_N) or not len(label_N):
        raise DataError(
            f"labels {label_N.shape}, logits {logit_NC.shape}, groups {group_N.shape}",
            required="(N,), (N, C) and (N,) with N of at least one",
            fix="score the same cases everywhere",
        )
    if label_N.min() < 0 or label_N.max() >= logit_NC.shape[1]:
        raise DataError(
            f"labels from {label_N.min()} to {label_N.max()}",
            required=f"0 to {logit_NC.shape[1] - 1}",
            fix="match the classes of the data to those of the model",
        )
    if not np.isfinite(logit_NC).all():
        raise DataError("logits with NaN or infinite values", required="finite logits", fix="check model and data")
    return label_N, logit_NC, group_N


def safe_divide(numerator: Floats, denominator: Floats) -> Floats:
    """Divide; NaN (undefined) for a denominator of zero."""
    empty = denominator == 0
    ratio: Floats = np.where(empty, np.nan, numerator / np.where(empty, 1.0, denominator))
    return ratio


def mean_defined(values: Floats) -> Floats:
    """Return the mean of the defined values over the last axis; NaN without any."""
    known = np.isfinite(values)
    return safe_divide(np.where(known, values, 0.0).sum(-1), known.sum(-1).astype(np.float64))


def number(value: float) -> float | None:
    """Return a metric as plain data; None if it is undefined."""
    return float(value) if np.isfinite(value) else None
