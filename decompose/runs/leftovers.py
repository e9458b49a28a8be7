"""What killed processes left in a directory of runs, or in a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lorkit.decompose.artifacts import DERIVED, MANIFEST, sweep


def sweep_run(run: Path) -> None:
    """Repair and remove what killed processes left in a run and in its directories of artifacts."""
    for folder in folders_of(run):
        sweep(folder)


def folders_of(run: Path) -> Iterator[Path]:
    """Yield the directories of a run in which later commands build artifacts, the run first."""
    yield run
    for folder in (*(run / name for name in DERIVED), *run.glob("exports/*"), *run.glob("exports/*/*")):
        if folder.is_dir() and not (folder / MANIFEST).is_file():
            yield folder
