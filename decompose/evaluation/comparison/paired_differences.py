"""Differences between methods on the same cases and seeds, with intervals over both.

A replicate draws groups (patients) within each region and seeds over all regions, both with replacement. Every method
is scored on the same draws: differences are paired in cases and seeds. Scores are linear in the drawn weights, so the
replicates are computed by a few matrix products.

With S seeds, the variance of S drawn means is (S - 1) / S of the variance of training, so deviations from the mean of
the seeds are multiplied by sqrt(S / (S - 1)). With one seed the intervals include only cases.

Shape legend: N cases, S seeds, C classes or structures, R replicates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import Floats
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.documents.base import Interval
from lorkit.decompose.documents.compare import MeanDrop, PairedDifference, RegionDrop
from lorkit.decompose.metrics.bootstrap import Resampling, interval, mean_defined, resample, safe_divide
from lorkit.decompose.metrics.paired import mcnemar, unseen_bound, widen_if_degenerate
from lorkit.decompose.tasks import get_task, headline_name

REPLICATES = 2000
CaseScores = Mapping[str, Floats]
"""By region, (S, N, C): scores by case for the model of each seed; S is 1 for the foundation."""


class ReplicatedRate(NamedTuple):
    """The headline metric of a method on a region: as measured, and in each replicate (R,)."""

    point: float
    replicates_R: Floats


@dataclass(frozen=True)
class _Region:
    draws: Resampling
    bound: float

    @classmethod
    def of(cls, prepared: PreparedRegion, seed: int) -> _Region:
        draws = resample(np.asarray(prepared.groups), seed=seed, replicates=REPLICATES)
        task = get_task(prepared.region.task)
        if task.dense:  # Dice differs slightly in every case, so the cases show its variance
            return cls(draws, 0.0 if draws.counts_RG.shape[1] > 1 else 1.0)
        return cls(draws, unseen_bound(task.defined(prepared.targets), prepared.groups, task.unseen))

    def rate(self, case_SNC: Floats, weight_RS: Floats) -> ReplicatedRate:
        known_SNC = np.isfinite(case_SNC)
        value_SNC = np.where(known_SNC, case_SNC, 0.0)
        point_C = safe_divide(value_SNC.sum((0, 1)), known_SNC.sum((0, 1)).astype(np.float64))
        right, seen = (
            np.einsum("rsc,rs->rc", self.draws.totals(values.transpose(1, 0, 2)), weight_RS)
            for values in (value_SNC, known_SNC)
        )
        # weights of seeds may be negative, so undefined replicates are found by their count
        rate_RC = safe_divide(right, np.where(np.abs(seen) < 1e-9, 0.0, seen))
        return ReplicatedRate(float(mean_defined(point_C)), mean_defined(rate_RC))


class PairedDifferences:
    """Bootstrap draws of the scored part of each region, the same for every method."""

    def __init__(self, scored: Mapping[str, PreparedRegion]) -> None:
        # a separate seed for each region: their patients are independent
        self._regions = {name: _Region.of(one, index) for index, (name, one) in enumerate(scored.items())}
        self._scored = scored
        self.metric = headline_name(one.region for one in scored.values())
        # regions have different patients, so bounds on unseen differences add like independent errors
        self._bound = math.hypot(*(region.bound for region in self._regions.values())) / len(scored)

    def rates(self, cases: CaseScores) -> dict[str, ReplicatedRate]:
        """Score a method on every region."""
        weight_RS = _seed_weights(len(next(iter(cases.values()))))
        return {name: region.rate(cases[name], weight_RS) for name, region in self._regions.items()}

    def mean(self, rates: Mapping[str, ReplicatedRate]) -> tuple[float, Interval]:
        """Return the mean over regions of a method's headline metric with its 95 % interval."""
        value = float(np.mean([rate.point for rate in rates.values()]))
        spread = interval(np.mean([rate.replicates_R for rate in rates.values()], axis=0))
        low, high = widen_if_degenerate(spread, value, self._bound)
        return value, (low, high)

    def pair(self, baseline: CaseScores, candidate: CaseScores) -> PairedDifference:
        """Return the drop from baseline to candidate by region and on average, with wins and losses.

        The candidate wins or loses a region if the interval of its drop is below or above zero.
        """
        rates = self.rates(baseline), self.rates(candidate)
        drops = {name: self._drop(name, baseline[name], candidate[name], rates) for name in self._regions}
        return PairedDifference(
            regions=drops,
            mean=self._mean_drop(list(drops.values()), rates),
            wins=sum(drop.ci[1] < 0 for drop in drops.values()),
            losses=sum(drop.ci[0] > 0 for drop in drops.values()),
        )

    def _drop(
        self,
        name: str,
        baseline: Floats,
        candidate: Floats,
        rates: tuple[dict[str, ReplicatedRate], dict[str, ReplicatedRate]],
    ) -> RegionDrop:
        one, two = (side[name] for side in rates)
        drop = one.point - two.point
        low, high = _widened_interval(one.replicates_R - two.replicates_R, drop, self._regions[name].bound)
        groups = len(set(self._scored[name].groups))
        return RegionDrop(
            drop=drop,
            ci=(low, high),
            decidable=(high - low) / 2,
            baseline=one.point,
            candidate=two.point,
            n=baseline.shape[1],
            groups=groups,
            mcnemar_p=_mcnemar(baseline, candidate),
        )

    def _mean_drop(
        self, drops: Sequence[RegionDrop], rates: tuple[dict[str, ReplicatedRate], dict[str, ReplicatedRate]]
    ) -> MeanDrop:
        drop = sum(one.drop for one in drops) / len(drops)
        differences = [rates[0][name].replicates_R - rates[1][name].replicates_R for name in self._regions]
        low, high = _widened_interval(np.mean(differences, axis=0), drop, self._bound)
        return MeanDrop(drop=drop, ci=(low, high), decidable=(high - low) / 2)


def _mcnemar(baseline_SNC: Floats, candidate_SNC: Floats) -> float | None:
    """Return McNemar's p-value if both have one seed and every case is a hit or a miss of one class."""
    if len(baseline_SNC) != 1 or len(candidate_SNC) != 1 or (np.isfinite(baseline_SNC[0]).sum(1) != 1).any():
        return None
    return mcnemar(np.stack([np.nansum(side[0], axis=1) for side in (baseline_SNC, candidate_SNC)], axis=1))


def _seed_weights(seeds: int) -> Floats:
    """Return the weight of each seed in each replicate, (R, S); a row sums to 1."""
    if seeds == 1:
        return np.ones((REPLICATES, 1))
    drawn_RS = np.random.default_rng(seeds).integers(0, seeds, size=(REPLICATES, seeds))
    counts_RS = (drawn_RS[:, :, None] == np.arange(seeds)).sum(1)
    stretch = math.sqrt(seeds / (seeds - 1))
    weights: Floats = (1.0 + stretch * (counts_RS - 1.0)) / seeds
    return weights


def _widened_interval(replicates_R: NDArray[np.float64], value: float, bound: float) -> tuple[float, float]:
    """Return the percentile interval, at least as wide as the bound on a loss that no case has shown."""
    low, high = interval(replicates_R) or [value, value]
    return min(low, value - bound), max(high, value + bound)
