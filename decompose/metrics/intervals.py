"""Uncertainty of a paired drop at any level, and the number of cases that an allowed drop needs.

Resampling the patients at hand cannot show a loss that none of them has, and losses often concentrate in few patients.
So each end of an interval has one further patient, the worst that is possible: for the upper end one that loses
everything, for the lower end one that gains everything. Its weight is random like that of every other patient (the
Bayesian bootstrap). For hits of one class this is the exact binomial interval of Clopper and Pearson (1934). For any
bounded mean it is the bound of Gaffke (Mathematical Methods of Statistics 14, 2005), of which no failure is known
(Learned-Miller and Thomas, arXiv 1905.06208). `benchmarks/gate_accuracy.py` measures its error rates.

Shape legend: R bootstrap replicates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lorkit.decompose.artifacts.arrays import Floats

ALPHA = 0.05
"""Default two-sided error of an interval."""
MOST_TIMES = 1000.0
"""Largest number of times as many cases that is worth stating."""


@dataclass(frozen=True, kw_only=True)
class UnseenPatient:
    """The worst patient that the cases cannot exclude: it weighs as much as the heaviest at hand.

    Attributes:
        share: Its contribution to the drop if it were one of the patients at hand.
        reach: Its contribution if there were no other patient: 1 if it has cases of all classes, 1/C with one class.
    """

    share: float
    reach: float

    def bound(self, alpha: float = ALPHA, times: float = 1.0) -> float:
        """Return the largest loss that no patient has shown, with error alpha / 2.

        An event that none of G patients shows has a probability below 1 - (alpha / 2)^(1/G).

        Args:
            alpha: Two-sided error.
            times: How many times as many patients there are.
        """
        if self.share <= 0.0:
            return 0.0
        return self.reach * float(-np.expm1(math.log(alpha / 2) * self.share / (self.reach * times)))

    @property
    def effective(self) -> float | None:
        """How many patients of equal weight would have one that contributes as much; None if it contributes nothing."""
        return 1.0 / self.share if self.share > 0.0 else None


@dataclass(frozen=True, kw_only=True, eq=False)
class DropUncertainty:
    """Uncertainty of a drop at any level: its replicates with one further patient.

    Attributes:
        drop: The drop itself.
        gained_R: The drop in each replicate, with a patient who gained everything.
        lost_R: The same with a patient who lost everything.
        unseen: This patient.
        unseen_loss: Its loss in each case, as a share of the largest possible one: 1 is everything.
    """

    drop: float
    gained_R: Floats
    lost_R: Floats
    unseen: UnseenPatient
    unseen_loss: float

    def interval(self, alpha: float = ALPHA) -> tuple[float, float]:
        """Return the two-sided interval at error alpha, in [-1, 1]; NaN if the drop is undefined."""
        low, high = float(np.quantile(self.gained_R, alpha / 2)), float(np.quantile(self.lost_R, 1.0 - alpha / 2))
        # at large alpha the quantiles may pass the drop
        return max(-1.0, min(low, self.drop)), min(1.0, max(high, self.drop))

    def p_values(self, allowed: float) -> tuple[float, float]:
        """Return the smallest errors at which the interval is above, and below, an allowed drop.

        The first is small if the candidate is worse than allowed, the second if it is not. Neither is below the
        resolution of the replicates.
        """
        grid_R = np.linspace(0.0, 1.0, len(self.lost_R))  # levels of the sorted replicates, as in np.quantile
        below = float(np.interp(allowed, np.sort(self.gained_R), grid_R)) if self.drop > allowed else 0.5
        above = 1.0 - float(np.interp(allowed, np.sort(self.lost_R), grid_R)) if self.drop < allowed else 0.5
        finest = 2.0 / (len(grid_R) + 1)
        return min(1.0, max(finest, 2.0 * below)), min(1.0, max(finest, 2.0 * above))

    def needed(self, allowed: float, n: int) -> int | None:
        """Return about how many cases would decide whether a drop as large as this one is allowed.

        The bound on what no patient shows decreases with the number of patients, the rest of the distance to the end of
        the interval with its square root.

        Args:
            allowed: Allowed drop.
            n: Number of cases of this interval.

        Returns:
            More than `n` if the interval contains the allowed drop. None if the drop is so close to the allowed one
            that more than a thousand times as many would be needed.
        """
        from scipy.optimize import brentq

        margin = abs(allowed - self.drop)
        low, high = self.interval()
        distance = high - self.drop if self.drop < allowed else self.drop - low
        rest = max(0.0, distance**2 - self.unseen.bound() ** 2)

        def excess(times: float) -> float:
            return math.hypot(math.sqrt(rest / times), self.unseen.bound(times=times)) - margin

        if not excess(MOST_TIMES) < 0:
            return None
        if excess(1.0 / n) <= 0:
            return 1
        needed: int = math.ceil(n * brentq(excess, 1.0 / n, MOST_TIMES, xtol=1e-4 / n))
        return min(n, needed) if distance < margin else max(n + 1, needed)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for a family of tests (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    ordered = np.argsort(p_values, kind="stable")
    factors = np.arange(len(ordered), 0, -1)
    adjusted = np.empty(len(ordered))
    adjusted[ordered] = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values, np.float64)[ordered] * factors))
    return adjusted.tolist()
