"""Tasks: what a region's outputs mean. A further task is one module and one line here."""

from __future__ import annotations

from collections.abc import Iterable

from lorkit.decompose.regions import Region, unknown
from lorkit.decompose.tasks.base import Task
from lorkit.decompose.tasks.classification import Classification

__all__ = ["TASKS", "Task", "dense_outputs", "get_task"]

TASKS: dict[str, Task] = {task.name: task for task in (Classification(),)}


def get_task(name: str) -> Task:
    """Return a task by name.

    Raises:
        UsageError: No task has this name; the message lists those that there are.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]


def dense_outputs(regions: Iterable[Region]) -> bool:
    """Tell whether the outputs of regions are maps; all regions of a configuration have one task."""
    return any(get_task(region.task).dense for region in regions)
