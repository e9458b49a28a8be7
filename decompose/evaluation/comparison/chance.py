"""Methods whose results prove nothing on a region: at chance, or without any answer of a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.metrics.names import METRICS
from lorkit.decompose.tasks import ScoreInputs, get_task


def unproven(
    title: str, models: Sequence[Mapping[str, ScoreInputs]], scored: Mapping[str, PreparedRegion]
) -> list[str]:
    """Return a sentence for each region on which one of a method's models is not shown to be better than chance.

    Args:
        title: The method, for the sentence.
        models: By seed, the score inputs of each region.
        scored: The scored part of each region.
    """
    found = []
    for name, prepared in scored.items():
        task, region = get_task(prepared.region.task), prepared.region
        chance = task.chance(region, prepared.targets)
        rates = [task.rate(region, prepared.targets, one[name], prepared.groups) for one in models]
        low = min(rate.ci[0] for rate in rates)
        if chance is not None and low <= chance:
            found.append(
                f"region {name}: {title} is not shown to be better than chance ({METRICS[task.headline]} {chance:.3f}; "
                f"its 95 % interval begins at {low:.3f}). A drop from it proves nothing"
            )
        if task.decides:  # by thresholds, which a comparison does not choose
            continue
        missing = sorted(
            {one for model in models for one in task.never_answered(region, prepared.targets, model[name])}
        )
        if missing:
            found.append(
                f"region {name}: {title} never answers {', '.join(missing)}, which the cases show, in at least one seed"
            )
    return found
