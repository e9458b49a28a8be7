"""A run to be made: planned, found up to date, or trained in its working directory and written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict, Unpack

from lorkit.decompose.artifacts import is_current
from lorkit.decompose.artifacts.keys import DirectoryKey
from lorkit.decompose.config import Config
from lorkit.decompose.documents.training import Plan, TrainDocument
from lorkit.decompose.events import CacheStatistics, Finished, Listener, Notice, ignore
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.runs import RUNS
from lorkit.decompose.runs.writing import RunContent, write_run
from lorkit.decompose.training.feature_cache import cache_statistics
from lorkit.decompose.training.loop.devices import launch
from lorkit.decompose.training.tensorboard import recording
from lorkit.decompose.training.work_directory import WorkDirectory, open_work_directory

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """The result of `train`.

    Attributes:
        run: The run's directory.
        up_to_date: It existed with the same settings and data.
        plan: Of a dry run.
        regions: Names in routing order.
        best: Mean of the headline metric on validation at the best epoch, by phase that is validated.
        seconds: Training time of the student's phases, without the foundation.
        teacher_cache: Savings of the cache of the teacher's features, one row per phase; empty without one.
    """

    run: Path
    up_to_date: bool = False
    plan: Plan | None = None
    regions: tuple[str, ...] = ()
    best: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    teacher_cache: tuple[CacheStatistics, ...] = ()

    def document(self) -> TrainDocument:
        """Return it as `decompose train --json` prints it."""
        return TrainDocument(
            run=self.run,
            up_to_date=self.up_to_date,
            plan=self.plan,
            region_names=list(self.regions),
            best=self.best,
            seconds=self.seconds,
            cache_statistics=list(self.teacher_cache),
        )


class RunOptions(TypedDict, total=False):
    """Options of every command that makes a run.

    Attributes:
        out: Directory of runs.
        resume: Continue an interrupted run of the same settings and data.
        force: Train again although the run is complete; the old one is kept until the new one is.
        dry_run: Return the plan, train and write nothing.
        tensorboard: Write the curves of every phase to the run's `tensorboard/`, as event files.
        on_event: Receives progress.
    """

    out: Path | str
    resume: bool
    force: bool
    dry_run: bool
    tensorboard: bool
    on_event: Listener


class TrainedRun(NamedTuple):
    """The result of a training: the content of its run, and the result of each phase."""

    content: RunContent
    ends: tuple[Finished, ...]


Training = Callable[["Fabric", WorkDirectory, Listener], TrainedRun]
"""Trains a run: on these devices, with its checkpoints in this directory."""


@dataclass(frozen=True, kw_only=True)
class NewRun(ABC):
    """A run to be made.

    Attributes:
        config: Resolved settings.
        regions: In routing order.
        inputs: Digest of everything that determines the run.
    """

    config: Config
    regions: RegionSet
    inputs: str

    def directory(self, out: Path | str) -> Path:
        """Return its directory in a directory of runs."""
        return Path(out) / f"{self.config.name}-{self.config.method}-{self.inputs[:8]}"

    @abstractmethod
    def plan(self, foundations: Path) -> Plan:
        """Describe the training; features of foundations are kept below `foundations`."""

    def notices(self) -> list[str]:
        """Return what the user should know of the settings, before training and with its plan."""
        return []

    def repetitions(self) -> list[str]:
        """Return what the phases of the training say themselves of their batches, for its plan."""
        return []

    def without_training(self, **options: Unpack[RunOptions]) -> TrainResult | None:
        """Return the result of a dry run, or of a run that is up to date; None if it must be trained."""
        out, names = options.get("out", RUNS), self.regions.names
        directory = self.directory(out)
        if options.get("dry_run"):
            plan = self.plan(foundations_of(out))
            for text in (*self.notices(), *self.repetitions()):
                options.get("on_event", ignore)(Notice(text=text))
            return TrainResult(run=directory, plan=plan, regions=names)
        if not options.get("force") and is_current(directory, "run", self.inputs):
            return TrainResult(run=directory, up_to_date=True, regions=names)
        return None


@dataclass(frozen=True, kw_only=True)
class TrainableRun(NewRun):
    """A run that is trained.

    Attributes:
        key: Key of the digests by which the run names its cases.
    """

    key: DirectoryKey

    @abstractmethod
    def begin(self, foundations: Path) -> Training:
        """Refuse what cannot be trained, before further processes start, and return the training."""


def foundations_of(out: Path | str) -> Path:
    """Return the directory of foundations beside a directory of runs."""
    return Path(out).parent / "foundations"


def make_run(new: TrainableRun, **options: Unpack[RunOptions]) -> TrainResult:
    """Train a run and write it; return the existing run if it is up to date, or the plan of a dry run.

    Raises:
        UsageError: It cannot be trained, or was interrupted, and neither `resume` nor `force` is given.
        DataError: A loss is not finite.
        StorageError: Another process trains the same run.
        ArtifactError: The key file of the directory of runs is damaged.
    """
    if (known := new.without_training(**options)) is not None:
        return known
    out, on_event = options.get("out", RUNS), options.get("on_event", ignore)
    _ = new.key.name  # a damaged key file is refused here, not after training
    training, directory = new.begin(foundations_of(out)), new.directory(out)
    fabric = launch(new.config.train)  # before locking: further processes run the command from its beginning
    listener = on_event if fabric.is_global_zero else ignore
    asked = {key: bool(options.get(key)) for key in ("resume", "force")}
    try:
        with open_work_directory(directory, fabric, **asked, hint=True) as work:
            curves = work.curves if options.get("tensorboard") and work.first else None
            with recording(curves, listener) as told:
                content, ends = training(fabric, work, told)
            work.finish(lambda staging: write_run(staging, content))
    except KeyboardInterrupt:
        text = "interrupted: finished epochs are kept, the same command with --resume continues after them"
        listener(Notice(text=text))
        raise
    return TrainResult(
        run=directory,
        regions=new.regions.names,
        best={end.phase: end.best for end in ends if end.best is not None},
        seconds=sum(end.seconds for end in ends),
        teacher_cache=tuple(cache_statistics(row for end in ends for row in end.history)),
    )
