"""Tasks: loss, scores and outputs of a region; one file for each, listed in `tasks/__init__.py`.

A task is imported when it is asked for, with its metrics.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.errors import unknown
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks.base import ScoreInputs, Task

__all__ = ["TASKS", "ScoreInputs", "Task", "dense_outputs", "get_task", "headline", "headline_name", "validation_name"]

_CLASSES = {
    "classification": "Classification",
    "multilabel": "Multilabel",
    "segmentation": "Segmentation",
    "structures": "Structures",
    "node": "Node",
}
"""The class of each task, in the module of its name."""


class _Tasks(Mapping[str, Task]):
    """The tasks by name."""

    def __getitem__(self, name: str) -> Task:
        return _imported(name, _CLASSES[name])

    def __iter__(self) -> Iterator[str]:
        return iter(_CLASSES)

    def __len__(self) -> int:
        return len(_CLASSES)


@cache
def _imported(name: str, kind: str) -> Task:
    task: Task = getattr(importlib.import_module(f"{__name__}.{name}"), kind)()
    return task


TASKS: Mapping[str, Task] = _Tasks()


def headline(cases_NS: NDArray[np.float64]) -> float:
    """Return the headline metric from `scores_by_case`: the mean over classes of the means over samples."""
    from lorkit.decompose.metrics.bootstrap import mean_defined  # a prediction measures nothing

    return float(mean_defined(mean_defined(cases_NS.T)))


def headline_name(regions: Iterable[Region]) -> str:
    """Return the name of the headline metric of regions; `headline` if they have different ones."""
    from lorkit.decompose.documents.scores import HEADLINE

    names = {get_task(region.task).headline for region in regions}
    return names.pop() if len(names) == 1 else HEADLINE


def validation_name(regions: Iterable[Region]) -> str:
    """Return the name of the metric that chooses the best epoch of regions; `headline` if they have different ones."""
    from lorkit.decompose.documents.scores import HEADLINE

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
