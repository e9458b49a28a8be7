"""Tasks: loss, scores and outputs of a region; one file for each, listed in `tasks/__init__.py`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.documents.scores import HEADLINE
from lorkit.decompose.errors import unknown
from lorkit.decompose.metrics.bootstrap import mean_defined
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks.base import ScoreInputs, Task
from lorkit.decompose.tasks.classification import Classification
from lorkit.decompose.tasks.multilabel import Multilabel
from lorkit.decompose.tasks.node import Node
from lorkit.decompose.tasks.segmentation import Segmentation
from lorkit.decompose.tasks.structures import Structures

__all__ = ["TASKS", "ScoreInputs", "Task", "dense_outputs", "get_task", "headline", "headline_name", "validation_name"]

TASKS: dict[str, Task] = {
    task.name: task for task in (Classification(), Multilabel(), Segmentation(), Structures(), Node())
}


def headline(cases_NS: NDArray[np.float64]) -> float:
    """Return the headline metric from `scores_by_case`: the mean over classes of the means over samples."""
    return float(mean_defined(mean_defined(cases_NS.T)))


def headline_name(regions: Iterable[Region]) -> str:
    """Return the name of the headline metric of regions; `headline` if they have different ones."""
    names = {get_task(region.task).headline for region in regions}
    return names.pop() if len(names) == 1 else HEADLINE


def validation_name(regions: Iterable[Region]) -> str:
    """Return the name of the metric that chooses the best epoch of regions; `headline` if they have different ones."""
    names = {get_task(region.task).validation for region in regions}
    return names.pop() if len(names) == 1 else HEADLINE


def get_task(name: str) -> Task:
    """Return a task by name; raise UsageError with the known ones."""
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]


def dense_outputs(regions: Iterable[Region]) -> bool:
    """Return whether one of the regions has masks, so that their network computes maps."""
    return any(get_task(region.task).dense for region in regions)
