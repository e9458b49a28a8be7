"""Keep a result in its run where that is possible; a result that was measured is never lost for lack of a disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from lorkit.decompose.errors import StorageError
from lorkit.decompose.runs.store import Run


def kept(run: Run, write: Callable[[], object], what: str) -> list[str]:
    """Write a result of a run; return a warning where that is impossible, as on a full or read-only disk, else nothing.

    Args:
        run: Its directory of measurements is made.
        write: Writes the result there.
        what: Its name.
    """
    try:
        run.measurements_dir.mkdir(exist_ok=True)
        write()
    except StorageError as error:
        reason = str(error)
    except OSError as error:
        reason = (error.strerror or type(error).__name__) + _place(run, error.filename)
    else:
        return []
    return [f"{what} was not kept in the run: {reason}."]


def _place(run: Run, name: object) -> str:
    """Return the file of an error as a text in brackets: by its path in the run, so that no other place is told."""
    if not isinstance(name, str | bytes):
        return ""
    path = Path(os.fsdecode(name))
    inside = path.is_relative_to(run.path)
    return f" ({path.relative_to(run.path) if inside else path.name})"
