"""The block of one region in an `evaluate` document."""

from __future__ import annotations

from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.documents.base import combine
from lorkit.decompose.documents.evaluate import (
    ClassificationEvaluation,
    MultilabelEvaluation,
    NodeEvaluation,
    RegionEvaluation,
    SegmentationEvaluation,
)
from lorkit.decompose.documents.network import Decision
from lorkit.decompose.documents.scores import MultilabelScores, NodeScores, SegmentationScores
from lorkit.decompose.evaluation.scoring import task_scores
from lorkit.decompose.tasks import ScoreInputs, get_task


def region_block(
    prepared: PreparedRegion, inputs: ScoreInputs, decision: Decision | None, *, source: str, synthetic: bool
) -> RegionEvaluation:
    """Score a prepared region; `source` says where its network is from, `decision` is that of its thresholds."""
    task, region = get_task(prepared.region.task), prepared.region
    found = task_scores(prepared, inputs, decision)
    synthetic = synthetic or region.synthetic
    about = {"task": task.name, "classes": list(region.classes), "source": source, "synthetic": synthetic}
    if isinstance(found, SegmentationScores):
        return combine(SegmentationEvaluation, found, **about)
    if isinstance(found, MultilabelScores):
        return combine(MultilabelEvaluation, found, **about, threshold_policy=decision.policy if decision else None)
    if isinstance(found, NodeScores):
        chosen = {"threshold_policy": decision.policy, "temperature": decision.temperature} if decision else {}
        return combine(NodeEvaluation, found, **about, **{"threshold_policy": None, "temperature": None, **chosen})
    return combine(ClassificationEvaluation, found, **about)
