"""What one network loses against another in a score that every case has, such as Dice, and what the cases can decide.

Shape legend: N cases, S scores a case (structures), G groups, R bootstrap replicates.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm, t

from lorkit.decompose.bootstrap import Floats, Resampling, divide, interval, mean_defined, resample
from lorkit.decompose.errors import DataError
from lorkit.decompose.paired import PairedDrop

_LEVEL = 0.95


def paired_means(
    baseline: ArrayLike, candidate: ArrayLike, groups: ArrayLike, *, seed: int = 0, replicates: int = 2000
) -> PairedDrop:
    """Compare two networks by the mean over structures of the mean over cases, on the same cases.

    Groups are resampled whole. A percentile interval of few groups is too narrow, so its ends lie at the quantiles
    that Student's t asks for (the expanded percentile interval of Hesterberg, The American Statistician 69, 2015,
    section 4.1). Nor is it ever narrower than what could still be hidden: with G groups an event never seen has a
    probability below 1 - 0.05^(1/G) at 95 %, and is taken to weigh as much as the largest difference that a group
    showed. One group alone decides nothing: the interval is then [-1, 1].

    Args:
        baseline: (N, S) scores in [0, 1]; NaN where a case does not define one, in both networks alike.
        candidate: (N, S), likewise.
        groups: (N,) patient (or other cluster) of each case.
        seed: Seed of the bootstrap.
        replicates: Bootstrap replicates.

    Raises:
        DataError: Shapes do not fit, there is no case, or no case defines any score.
    """
    sides_2NS = np.stack([np.asarray(baseline, np.float64), np.asarray(candidate, np.float64)])
    # where only one network has a score, the pair has none
    sides_2NS = np.where(np.isfinite(sides_2NS).all(axis=0), sides_2NS, np.nan)
    if sides_2NS.ndim != 3 or sides_2NS.shape[1] != len(np.asarray(groups)) or not np.isfinite(sides_2NS).any():
        raise DataError(
            f"scores of shape {sides_2NS.shape[1:]} for {len(np.asarray(groups))} groups, none of them defined"
            if sides_2NS.ndim == 3
            else f"scores of shape {sides_2NS.shape[1:]}",
            required="(N, S) scores, at least one of them defined",
            fix="compare the same cases on both sides, some of which show a structure",
        )
    draws = resample(np.asarray(groups), seed=seed, replicates=replicates)
    once = Resampling(np.ones((1, draws.counts_RG.shape[1])), draws.group_N)
    first, second = (float(_mean(side_NS, once)[0]) for side_NS in sides_2NS)
    lost_NS = sides_2NS[0] - sides_2NS[1]
    low, high = _interval(lost_NS, draws, first - second)
    return PairedDrop(
        drop=first - second,
        ci=(low, high),
        decidable=(high - low) / 2,
        baseline=first,
        candidate=second,
        n=sides_2NS.shape[1],
        groups=draws.counts_RG.shape[1],
        mcnemar_p=None,
    )


def _interval(lost_NS: Floats, draws: Resampling, drop: float) -> tuple[float, float]:
    groups = draws.counts_RG.shape[1]
    if groups < 2:
        return -1.0, 1.0
    tail = norm.cdf(math.sqrt(groups / (groups - 1)) * t.ppf((1 - _LEVEL) / 2, groups - 1))
    spread = interval(_mean(lost_NS, draws), level=1.0 - 2.0 * float(tail)) or [-1.0, 1.0]
    each_G = mean_defined(divide(*_sums(lost_NS, Resampling(np.eye(groups), draws.group_N))))
    hidden = (1.0 - 0.05 ** (1.0 / groups)) * float(np.nanmax(np.abs(each_G)))
    return max(-1.0, min(spread[0], drop - hidden)), min(1.0, max(spread[1], drop + hidden))


def _mean(values_NS: Floats, draws: Resampling) -> Floats:
    """Return the mean over structures of the means over cases, in each replicate, (R,)."""
    return mean_defined(divide(*_sums(values_NS, draws)))


def _sums(values_NS: Floats, draws: Resampling) -> tuple[Floats, Floats]:
    known_NS = np.isfinite(values_NS)
    return draws.totals(np.where(known_NS, values_NS, 0.0)), draws.totals(known_NS.astype(np.float64))
