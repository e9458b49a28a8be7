"""Uncertainty of a paired difference at any level, and the number of cases that an allowed drop needs.

Shape legend: R bootstrap replicates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, stdtrit

from lorkit.decompose.artifacts.arrays import Floats
from lorkit.decompose.metrics.bootstrap import interval

ALPHA = 0.05
"""Default two-sided error of an interval."""
MIN_GROUPS = 6
"""Fewest groups that decide anything: with five, even equal signs have a p-value of 6 % in a sign test."""
_BISECTIONS = 24


@dataclass(frozen=True, kw_only=True, eq=False)
class DropUncertainty:
    """Uncertainty of a drop at any level: its replicates, and a bound on differences that no case has shown.

    Attributes:
        drop: The drop itself.
        drop_R: The drop in each replicate, NaN if undefined.
        rarest_groups: Number m of groups that could have shown an unseen event, whose probability is below 1 -
            alpha^(1/m).
        weight: Contribution of such an event to the drop.
        small_sample_groups: Number of groups if it is so small that percentiles alone are too narrow, else None. The
            ends are then the quantiles of Student's t (the expanded percentile interval of Hesterberg, The American
            Statistician 69, 2015, section 4.1), and no nearer than Student's interval, which percentiles of two or
            three groups cannot reach; below `MIN_GROUPS` nothing is decided.
    """

    drop: float
    drop_R: Floats
    rarest_groups: int
    weight: float
    small_sample_groups: int | None = None

    def interval(self, alpha: float = ALPHA) -> tuple[float, float]:
        """Return the two-sided interval at error alpha, in [-1, 1]."""
        low, high = self._resampled(alpha)
        reach = zero_event_bound(self.rarest_groups, self.weight, alpha)
        return max(-1.0, min(low, self.drop - reach)), min(1.0, max(high, self.drop + reach))

    def p_values(self, allowed: float) -> tuple[float, float]:
        """Return the smallest errors at which the interval is above, and below, an allowed drop.

        The first is small if the candidate is worse than allowed, the second if it is not. Neither is below the
        resolution of the replicates.
        """
        above = self._smallest(lambda alpha: self.interval(alpha)[0] > allowed)
        return above, self._smallest(lambda alpha: self.interval(alpha)[1] < allowed)

    def needed(self, allowed: float, n: int) -> int | None:
        """Return about how many cases show that a candidate without loss is within an allowed drop.

        The resampled half-width decreases with the square root of the number of cases, the bound on unseen events with
        the number. None if no number suffices: no drop is allowed, or there are too few groups to know their variance.
        """
        if allowed <= 0 or (self.small_sample_groups is not None and self.small_sample_groups < MIN_GROUPS):
            return None
        low, high = self._resampled(ALPHA)
        factor = ((high - low) / 2 / allowed) ** 2
        if self.weight > allowed:  # below it, unseen events are within the allowed drop
            groups = math.log(ALPHA) / math.log1p(-allowed / self.weight)
            factor = max(factor, groups / self.rarest_groups)
        return max(1, math.ceil(factor * n))

    def _resampled(self, alpha: float) -> tuple[float, float]:
        if self.small_sample_groups is None:
            low, high = interval(self.drop_R, level=1.0 - alpha) or (self.drop, self.drop)
            return low, high
        if self.small_sample_groups < MIN_GROUPS:
            return -1.0, 1.0
        expanded = math.sqrt(self.small_sample_groups / (self.small_sample_groups - 1)) * float(
            stdtrit(self.small_sample_groups - 1, alpha / 2)
        )
        low, high = interval(self.drop_R, level=1.0 - 2.0 * float(ndtr(expanded))) or (self.drop, self.drop)
        reach = -expanded * float(np.std(self.drop_R[np.isfinite(self.drop_R)])) if np.isfinite(self.drop) else 0.0
        return min(low, self.drop - reach), max(high, self.drop + reach)

    def _smallest(self, decided: Callable[[float], bool]) -> float:
        """Bisect on a logarithmic scale for the smallest error at which an interval decides."""
        low, high = math.log(2.0 / (len(self.drop_R) + 1)), 0.0
        if not decided(1.0):
            return 1.0
        if decided(math.exp(low)):
            return math.exp(low)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            low, high = (low, middle) if decided(math.exp(middle)) else (middle, high)
        return math.exp(high)


def zero_event_bound(groups: int, weight: float, alpha: float = ALPHA) -> float:
    """Return the largest contribution of an event that none of `groups` showed, at 1 - alpha."""
    return float(1.0 - alpha ** (1.0 / groups)) * weight


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for a family of tests (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    ordered = np.argsort(p_values, kind="stable")
    factors = np.arange(len(ordered), 0, -1)
    adjusted = np.empty(len(ordered))
    adjusted[ordered] = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values, np.float64)[ordered] * factors))
    return adjusted.tolist()
