"""Thresholds of a network, chosen on the validation part of its run, never on the part that is judged."""

from __future__ import annotations

from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.documents.network import Decision
from lorkit.decompose.evaluation.inference import NetworkCallable, collect_score_inputs
from lorkit.decompose.metrics.thresholds import Policy
from lorkit.decompose.tasks import get_task


def decide(network: NetworkCallable, val: PreparedRegion, policy: Policy | None) -> Decision | None:
    """Choose thresholds, as the task does; None for a task whose largest output is the answer.

    Args:
        network: Images to logits.
        val: The validation part of its region.
        policy: The region's setting `threshold`.
    """
    task = get_task(val.region.task)
    if not task.decides:
        return None
    return task.decide(val.region, val.targets, collect_score_inputs(network, val), policy)
