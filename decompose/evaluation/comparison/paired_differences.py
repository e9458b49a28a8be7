"""Differences between methods on the same cases and seeds, with intervals over both.

Seeds and groups (patients) are random effects (`metrics.random_effects`); differences are paired in both. The mean over
classes of a rate is a ratio of sums, so its variance is that of its linear approximation: what a group of cases adds to
it with each seed.

Shape legend: N cases, S seeds, G groups, C classes or structures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lorkit.decompose.artifacts.arrays import Floats, Ints
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.documents.base import Interval
from lorkit.decompose.documents.compare import MeanDrop, PairedDifference, RegionDrop
from lorkit.decompose.metrics.bootstrap import mean_defined, safe_divide, sum_groups
from lorkit.decompose.metrics.paired import mcnemar, unseen_bound
from lorkit.decompose.metrics.random_effects import mean_variance
from lorkit.decompose.tasks import get_task, headline_name

CaseScores = Mapping[str, Floats]
"""By region, (S, N, C): scores by case for the model of each seed; S is 1 for the foundation."""
_EQUAL = 1e-12
"""Largest range of differences that are equal but for rounding."""
_ENOUGH = 10
"""Groups of a class that have to differ to show the variance of its hits (`benchmarks/interval_coverage.py`)."""


class Rate(NamedTuple):
    """The headline metric of a method on a region, and what each group adds to it with each seed.

    The mean of `values_SG` is `point`.
    """

    point: float
    values_SG: Floats


@dataclass(frozen=True)
class _Region:
    group_N: Ints
    groups: int
    bound: float
    graded: bool

    @classmethod
    def of(cls, prepared: PreparedRegion) -> _Region:
        names, group_N = np.unique(np.asarray(prepared.groups), return_inverse=True)
        task = get_task(prepared.region.task)
        bound = task.unseen_bound(prepared.region, prepared.targets, prepared.groups)
        return cls(group_N.astype(np.int64), len(names), bound, task.graded)

    def minimum(self, baseline_SNC: Floats, candidate_SNC: Floats) -> float:
        """Return the least half-width of a difference: 0 where the groups show how much it varies.

        Graded scores show it if they differ at all. Hits do if `_ENOUGH` groups of every class differ: in a class in
        which fewer do, what no group shows may weigh more than what some do.
        """
        change_NC = np.nan_to_num(candidate_SNC).mean(0) - np.nan_to_num(baseline_SNC).mean(0)
        differs_NC = np.abs(change_NC) > _EQUAL
        if self.graded:
            return 0.0 if differs_NC.any() else self.bound
        known_C = np.isfinite(baseline_SNC).any((0, 1))
        groups_C = [len(np.unique(self.group_N[differs_N])) for differs_N in differs_NC[:, known_C].T]
        return 0.0 if min(groups_C) >= _ENOUGH else self.bound

    def rate(self, case_SNC: Floats) -> Rate:
        known_SNC = np.isfinite(case_SNC)
        value_SNC = np.where(known_SNC, case_SNC, 0.0)
        known_C = known_SNC.sum((0, 1)).astype(np.float64)
        point_C = safe_divide(value_SNC.sum((0, 1)), known_C)
        rest_SNC = np.where(known_SNC, value_SNC - np.nan_to_num(point_C), 0.0)
        added_SN = mean_defined(safe_divide(rest_SNC, np.broadcast_to(known_C, rest_SNC.shape)))
        added_SG = sum_groups(added_SN.T, self.group_N, self.groups).T
        point = float(mean_defined(point_C))
        return Rate(point, point + added_SG * added_SG.size)


class PairedDifferences:
    """The groups of the scored part of each region, the same for every method."""

    def __init__(self, scored: Mapping[str, PreparedRegion]) -> None:
        self._regions = {name: _Region.of(one) for name, one in scored.items()}
        self.metric = headline_name(one.region for one in scored.values())
        self._bound = _joint([region.bound for region in self._regions.values()])

    def rates(self, cases: CaseScores) -> dict[str, Rate]:
        """Score a method on every region."""
        return {name: region.rate(cases[name]) for name, region in self._regions.items()}

    def mean(self, rates: Mapping[str, Rate]) -> tuple[float, Interval]:
        """Return the mean over regions of a method's headline metric with its 95 % interval.

        The bound on unseen differences is only for cases that are all right or all wrong, which show no variance.
        """
        return _mean(rates, self._bound)

    def mean_of_shares(self, right: Mapping[str, Floats]) -> tuple[float, Interval]:
        """Return the mean over regions of the share of right cases with its 95 % interval.

        Args:
            right: By region, (S, N): 1 for cases that are right with a seed, else 0.
        """
        rates = {name: region.rate(right[name][:, :, None]) for name, region in self._regions.items()}
        bounds = [unseen_bound(np.ones((len(one.group_N), 1), bool), one.group_N) for one in self._regions.values()]
        return _mean(rates, _joint(bounds))

    def pair(self, baseline: CaseScores, candidate: CaseScores) -> PairedDifference:
        """Return the drop from baseline to candidate by region and on average, with wins and losses.

        The candidate wins or loses a region if the interval of its drop is below or above zero.
        """
        one, two = self.rates(baseline), self.rates(candidate)
        differences = {name: one[name].values_SG - two[name].values_SG for name in self._regions}
        least = {name: region.minimum(baseline[name], candidate[name]) for name, region in self._regions.items()}
        drops = {}
        for name, region in self._regions.items():
            drop = one[name].point - two[name].point
            low, high = _interval(drop, [differences[name]], least[name])
            drops[name] = RegionDrop(
                drop=drop,
                ci=(low, high),
                decidable=(high - low) / 2,
                baseline=one[name].point,
                candidate=two[name].point,
                n=baseline[name].shape[1],
                groups=region.groups,
                mcnemar_p=_mcnemar(baseline[name], candidate[name]),
            )
        drop = sum(row.drop for row in drops.values()) / len(drops)
        low, high = _interval(drop, list(differences.values()), _joint(list(least.values())))
        return PairedDifference(
            regions=drops,
            mean_drop=MeanDrop(drop=drop, ci=(low, high), decidable=(high - low) / 2),
            wins=sum(row.ci[1] < 0 for row in drops.values()),
            losses=sum(row.ci[0] > 0 for row in drops.values()),
        )


def _joint(bounds: Sequence[float]) -> float:
    """Return the bound of a mean over regions, whose patients differ, so that bounds add like independent errors."""
    return math.hypot(*bounds) / len(bounds)


def _mean(rates: Mapping[str, Rate], bound: float) -> tuple[float, Interval]:
    """Return the mean of rates with its interval; `bound` is its half-width if no case shows variance."""
    value = float(np.mean([rate.point for rate in rates.values()]))
    half = mean_variance([rate.values_SG for rate in rates.values()]).half_width() or bound
    return value, (max(0.0, value - half), min(1.0, value + half))


def _interval(drop: float, regions: Sequence[Floats], bound: float) -> tuple[float, float]:
    """Return the interval of a drop, at least as wide as the bound on a loss that no case has shown."""
    half = max(mean_variance(regions).half_width(), bound)
    return max(-1.0, drop - half), min(1.0, drop + half)


def _mcnemar(baseline_SNC: Floats, candidate_SNC: Floats) -> float | None:
    """Return McNemar's p-value if both have one seed and every case is a hit or a miss of one class."""
    if len(baseline_SNC) != 1 or len(candidate_SNC) != 1 or (np.isfinite(baseline_SNC[0]).sum(1) != 1).any():
        return None
    return mcnemar(np.stack([np.nansum(side[0], axis=1) for side in (baseline_SNC, candidate_SNC)], axis=1))
