"""The working directory of a long training: hidden, beside its result, kept after a kill to be resumed or deleted.

An earlier artifact stays readable until the new one is complete.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lorkit.decompose.artifacts import is_current
from lorkit.decompose.artifacts.directories import building, check_replaceable
from lorkit.decompose.artifacts.leftovers import recover_interrupted, sweep
from lorkit.decompose.artifacts.locks import exclusive
from lorkit.decompose.errors import BusyError, UsageError
from lorkit.decompose.events import Listener, Notice

if TYPE_CHECKING:
    from lightning_fabric import Fabric

POLL_SECONDS = 1.0
T = TypeVar("T")


def work_directory(directory: Path) -> Path:
    """Return the working directory of the training of `directory`."""
    return directory.parent / f".{directory.name}.training"


def wait_for(action: Callable[[], T], on_event: Listener) -> T:
    """Call a function as soon as no other process is busy with it."""
    told = False
    while True:
        try:
            return action()
        except BusyError as error:
            if not told:
                on_event(Notice(text=f"{error.given}: waiting for it"))
            told = True
            time.sleep(POLL_SECONDS)


@dataclass(frozen=True)
class WorkDirectory:
    """The locked working directory of one training."""

    goal: Path
    path: Path
    fabric: Fabric

    @property
    def checkpoints(self) -> Path:
        """Directory of the phases' checkpoints."""
        return self.path / "checkpoints"

    @property
    def curves(self) -> Path:
        """Directory of the curves for TensorBoard."""
        return self.path / "tensorboard"

    def finished_elsewhere(self, kind: str, inputs: str) -> bool:
        """Return whether another process finished this artifact before the lock was acquired; clean up if so."""
        done = self.fabric.broadcast(self.first and is_current(self.goal, kind, inputs))
        if done and self.first:
            shutil.rmtree(self.path, ignore_errors=True)
        return done

    def finish(self, write: Callable[[Path], object]) -> None:
        """Write the artifact into a clean staging directory, move it to its goal and delete the working directory.

        The first process does so, after all have read what they need. `write` fills the staging directory; what later
        commands wrote into a replaced artifact is kept.
        """
        self.fabric.barrier()
        if self.first:
            with building(self.goal) as staging:
                write(staging)
            shutil.rmtree(self.path, ignore_errors=True)
        self.fabric.barrier()

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return bool(self.fabric.is_global_zero)


@contextmanager
def open_work_directory(
    directory: Path, fabric: Fabric, *, resume: bool, force: bool = False, hint: bool = False
) -> Iterator[WorkDirectory]:
    """Lock the final directory and open its working directory; the first of several processes does it for all.

    Args:
        directory: Directory of the finished artifact.
        fabric: The processes that train together.
        resume: Continue from the checkpoints of an interrupted training.
        force: Delete them.
        hint: Refuse, instead of deleting them silently, if neither is set.

    Raises:
        UsageError: There are checkpoints of an interrupted training and neither `resume` nor `force` is set.
        BusyError: Another process trains the same artifact.
    """
    work = WorkDirectory(directory, work_directory(directory), fabric)
    if not work.first:
        work.fabric.barrier()
        yield work
        return
    with exclusive(directory):
        recover_interrupted(directory)
        sweep(directory.parent)
        check_replaceable(directory)
        saved = sorted(work.checkpoints.glob("*/state.json"))
        if saved and hint and not resume and not force:
            raise UsageError(
                f"{directory} was interrupted after a checkpoint",
                required="--resume or --force",
                fix="pass --resume to continue it or --force to start again",
            )
        if not resume:
            shutil.rmtree(work.path, ignore_errors=True)
        work.path.mkdir(exist_ok=True)
        work.fabric.barrier()
        yield work
