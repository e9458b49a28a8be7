"""Interval of one model's headline metric that stays wide where few patients were seen.

Resampling patients who are all right (or all wrong) has no width, however few they are. So each end has one further
patient, as in `intervals`: one who scores 0 everywhere for the lower end, one who scores 1 for the upper end. For hits
of one class this is the exact binomial interval of Clopper and Pearson (1934).

Shape legend: N cases, S classes or structures, G groups, R bootstrap replicates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lorkit.decompose.artifacts.arrays import Floats
from lorkit.decompose.metrics.bootstrap import mean_defined, safe_divide, sum_groups, weighted_totals
from lorkit.decompose.metrics.intervals import ALPHA, MOST_TIMES
from lorkit.decompose.metrics.paired import heaviest_group

REPLICATES = 2000
_TAIL = ALPHA / 2


@dataclass(frozen=True)
class Rate:
    """A mean in [0, 1] with its 95 % interval over groups.

    Attributes:
        value: The mean; NaN if no case is defined.
        ci: Its interval.
        groups: The number of groups.
    """

    value: float
    ci: tuple[float, float]
    groups: int

    def groups_to_exclude(self, limit: float) -> int | None:
        """Return about how many groups give an interval without `limit`, if the rate stays.

        The half-width on the side of the limit decreases with the square root of the number of groups. None if no
        number does, or only more than a thousand times as many.
        """
        low, high = self.ci
        distance = abs(self.value - limit)
        if not distance > 0:
            return None
        reach = self.value - low if self.value > limit else high - self.value
        times = (reach / distance) ** 2
        return None if times > MOST_TIMES else max(self.groups + 1, math.ceil(self.groups * times))


def mean_rate(cases_NS: Floats, groups: ArrayLike, *, seed: int = 0) -> Rate:
    """Return the mean over columns of the mean over cases, with its interval.

    Args:
        cases_NS: (N, S) scores in [0, 1], NaN where a case is undefined; a column without any is left out.
        groups: (N,) patient (or other cluster) of each case.
        seed: Seed of the bootstrap.
    """
    cases_NS = cases_NS[:, np.isfinite(cases_NS).any(0)]
    group_N = np.unique(np.asarray(groups), return_inverse=True)[1]
    total = int(group_N.max()) + 1
    if not cases_NS.size:
        return Rate(math.nan, (0.0, 1.0), total)
    known_NS = np.isfinite(cases_NS)
    sums_G2S = sum_groups(np.stack([np.where(known_NS, cases_NS, 0.0), known_NS], axis=1), group_N, total)
    further_S = heaviest_group(known_NS, group_N)[0]
    flat, further_R = weighted_totals(sums_G2S.reshape(total, -1), seed=seed, replicates=REPLICATES)
    totals_R2S = flat.reshape(len(flat), *sums_G2S.shape[1:])
    more_RS = np.outer(further_R, further_S)
    seen_RS = totals_R2S[:, 1] + more_RS
    low_R, high_R = (mean_defined(safe_divide(totals_R2S[:, 0] + right, seen_RS)) for right in (0.0, more_RS))
    value = float(mean_defined(safe_divide(*sums_G2S.sum(0))))
    ends = float(np.quantile(low_R, _TAIL)), float(np.quantile(high_R, 1.0 - _TAIL))
    return Rate(value, (min(ends[0], value), max(ends[1], value)), total)


def mean_of_independent(
    values: Sequence[float], intervals: Sequence[tuple[float, float] | Sequence[float]]
) -> tuple[float, tuple[float, float]]:
    """Return the mean of independent estimates with its interval.

    Distances from the estimates to the ends of their intervals add like independent errors: the method of variance
    estimates recovery (Zou and Donner, Statistics in Medicine 27, 2008), which keeps unequal sides.

    Args:
        values: One or more estimates.
        intervals: Their intervals, of equal confidence.
    """
    value = math.fsum(values) / len(values)
    below = math.hypot(*(one - low for one, (low, _) in zip(values, intervals, strict=True))) / len(values)
    above = math.hypot(*(high - one for one, (_, high) in zip(values, intervals, strict=True))) / len(values)
    return value, (value - below, value + above)
