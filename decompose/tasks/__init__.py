"""Tasks: what a region's outputs mean. A further task is one module and one line here."""

from __future__ import annotations

from lorkit.decompose.regions import unknown
from lorkit.decompose.tasks.base import Task
from lorkit.decompose.tasks.classification import Classification

__all__ = ["TASKS", "Task", "get_task"]

TASKS: dict[str, Task] = {task.name: task for task in (Classification(),)}


def get_task(name: str) -> Task:
    """Return a task by name.

    Raises:
        UsageError: No task has this name; the message lists those that there are.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]
