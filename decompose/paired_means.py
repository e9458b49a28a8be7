"""What one model loses against another in a score that varies from case to case, such as Dice, when groups are few.

Shape legend: N cases, S structures, G groups, R bootstrap replicates.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm, t

from lorkit.decompose.bootstrap import Floats, Resampling, interval, mean_defined, resample
from lorkit.decompose.errors import DataError
from lorkit.decompose.paired import PairedDrop, case_rates, paired_cases

_LEVEL = 0.95


def paired_means(
    baseline_NS: Floats, candidate_NS: Floats, groups: ArrayLike, *, seed: int = 0, replicates: int = 2000
) -> PairedDrop:
    """Compare two models by the mean over structures of the mean over cases, with an interval that few groups earn.

    A percentile interval of few groups is too narrow, so its ends lie at the quantiles that Student's t asks for (the
    expanded percentile interval of Hesterberg, The American Statistician 69, 2015, section 4.1). Nor is it ever
    narrower than what could still be hidden: with G groups an event never seen has a probability below
    1 - 0.05^(1/G) at 95 %, and is taken to weigh as much as the largest difference that a group showed. One group
    alone decides nothing: the interval is then [-1, 1].

    Args:
        baseline_NS: The `cases` of a task, in [0, 1], NaN where a case says nothing about a structure.
        candidate_NS: Likewise, of the same cases.
        groups: (N,) patient (or other cluster) of each case.
        seed: Seed of the bootstrap.
        replicates: Bootstrap replicates.

    Raises:
        DataError: No case says anything about any structure in both models.
    """
    if not (np.isfinite(baseline_NS).any() and np.isfinite(candidate_NS).any()):
        raise DataError(
            f"{len(baseline_NS)} case(s) without any structure",
            required="at least one case that shows a structure",
            fix="add such cases",
        )
    found = paired_cases(baseline_NS, candidate_NS, groups, seed=seed, replicates=replicates)
    draws = resample(np.asarray(groups), seed=seed, replicates=replicates)
    low, high = _interval(_lost(baseline_NS, candidate_NS, draws), found.groups)
    each_G = _lost(baseline_NS, candidate_NS, Resampling(np.eye(found.groups), draws.group_N))
    hidden = (1.0 - 0.05 ** (1.0 / found.groups)) * float(np.abs(each_G[np.isfinite(each_G)]).max(initial=0.0))
    low, high = max(-1.0, min(low, found.drop - hidden)), min(1.0, max(high, found.drop + hidden))
    return replace(found, ci=(low, high), decidable=(high - low) / 2)


def _interval(lost_R: Floats, groups: int) -> tuple[float, float]:
    if groups < 2:
        return -1.0, 1.0
    tail = float(norm.cdf(math.sqrt(groups / (groups - 1)) * t.ppf((1 - _LEVEL) / 2, groups - 1)))
    low, high = interval(lost_R, level=1.0 - 2.0 * tail) or [-1.0, 1.0]
    return low, high


def _lost(baseline_NS: Floats, candidate_NS: Floats, draws: Resampling) -> Floats:
    """Return what the candidate loses in each replicate, (R,)."""
    return mean_defined(case_rates(baseline_NS, draws) - case_rates(candidate_NS, draws))
