"""The results of a cell from what its scores follow from.

Nodes are decided by a threshold and a temperature, which validation chooses, as in `evaluate`. Those of several labels
change none of the figures of a comparison, so they are not chosen.
"""

from __future__ import annotations

from collections.abc import Mapping

from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.documents.network import Decision
from lorkit.decompose.documents.scores import TaskFigures
from lorkit.decompose.evaluation.scoring import task_scores
from lorkit.decompose.metrics.thresholds import Policy
from lorkit.decompose.tasks import ScoreInputs, get_task

Parts = Mapping[str, Mapping[str, PreparedRegion]]
"""Prepared data by part ("val", "test"), then by region."""
Policies = Mapping[str, Policy | None]
"""By region, how validation chooses the threshold."""


def needs_validation(part: PreparedRegion) -> bool:
    """Return whether figures of a region depend on a threshold, which validation chooses."""
    task = get_task(part.region.task)
    return task.decides and task.exclusive


def score_blocks(
    evidence: Mapping[str, Mapping[str, ScoreInputs]], parts: Parts, policies: Policies
) -> dict[str, dict[str, TaskFigures]]:
    """Score parts by region: the results of `evaluate` blocks without their tables.

    Args:
        evidence: Score inputs of each part by region.
        parts: The parts; `val` is one of them where `needs_validation` says so.
        policies: By region.
    """
    decisions: dict[str, Decision | None] = {}
    for name, val in parts.get("val", {}).items():
        if needs_validation(val):
            task = get_task(val.region.task)
            decisions[name] = task.decide(val.region, val.targets, evidence["val"][name], policies.get(name))
    return {
        split: {
            name: task_scores(one, evidence[split][name], decisions.get(name)).figures for name, one in part.items()
        }
        for split, part in parts.items()
    }
