"""What the cases show of each side alone: chance, classes that are never answered, and least values.

A small drop says nothing if the baseline itself is at chance, or if a side never answers a class: both losses are
invisible in a difference of means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lorkit.decompose.documents.base import Verdict
from lorkit.decompose.documents.gate import Floor, Side
from lorkit.decompose.metrics.rates import Rate, mean_rate
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks import ScoreInputs, get_task


@dataclass(frozen=True, kw_only=True)
class Sides:
    """The outputs of baseline and candidate on the same cases.

    Attributes:
        region: The region, with the task and the names of its classes.
        targets: (N, ...) of each side; dense targets may differ in size.
        score_inputs: What the task scores the outputs of each side by.
        groups: (N,) patient (or other cluster) of each case.
        seed: Seed of the bootstrap.
    """

    region: Region
    targets: tuple[ArrayLike, ArrayLike]
    score_inputs: tuple[ScoreInputs, ScoreInputs]
    groups: Sequence[str]
    seed: int = 0

    def findings(self) -> dict[str, Any]:
        """Return the fields of the gate's `accuracy_test` about each side alone."""
        task = get_task(self.region.task)
        baseline, chance = self._rate(0), task.chance(self.region, self.targets[0])
        sides: tuple[Side, Side] = ("baseline", "candidate")
        pairs = zip(sides, self.targets, self.score_inputs, strict=True)
        missing = {side: task.never_answered(self.region, targets, kept) for side, targets, kept in pairs}
        return {
            "baseline_ci": baseline.ci,
            "chance": chance,
            "at_chance": chance is not None and baseline.ci[0] <= chance,
            "never_answered": {side: names for side, names in missing.items() if names},
        }

    def groups_above_chance(self) -> int | None:
        """Return about how many groups show that the baseline is better than chance; None if it is not better."""
        baseline, chance = self._rate(0), get_task(self.region.task).chance(self.region, self.targets[0])
        return None if chance is None or not baseline.value > chance else baseline.groups_to_exclude(chance)

    def floors(self, least: float | None, least_recall: float | None) -> list[Floor]:
        """Judge the candidate by the least headline metric and the least recall of each class or structure."""
        task = get_task(self.region.task)
        found = [] if least is None else [_floor(task.headline, self._rate(1), least)]
        if least_recall is not None:
            recall_NS = task.recalls_by_case(self.region, self.targets[1], self.score_inputs[1])
            for index, name in enumerate(self.region.classes):
                rate = mean_rate(recall_NS[:, index : index + 1], self.groups, seed=self.seed)
                found.append(_floor(f"recall of {name}", rate, least_recall))
        return found

    def _rate(self, side: int) -> Rate:
        task = get_task(self.region.task)
        return task.rate(self.region, self.targets[side], self.score_inputs[side], self.groups, seed=self.seed)


def _floor(name: str, rate: Rate, minimum: float) -> Floor:
    low, high = rate.ci
    verdict: Verdict = "fail" if high < minimum else "pass" if low >= minimum else "inconclusive"
    return Floor(
        name=name,
        value=rate.value if np.isfinite(rate.value) else None,
        ci=rate.ci,
        minimum=minimum,
        verdict=verdict,
        needed_groups=rate.groups_to_exclude(minimum) if verdict == "inconclusive" else None,
    )
