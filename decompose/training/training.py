"""The commands `train` and `pretrain`: from a configuration to a finished run on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import torch

from lorkit.decompose.artifacts import digest_json, is_current
from lorkit.decompose.config import Config, config_digest
from lorkit.decompose.data import RegionSamples, Splits, read_regions, split_regions
from lorkit.decompose.data.readers.registry import expected_task
from lorkit.decompose.events import CacheStatistics, Listener, Notice, ignore
from lorkit.decompose.methods import Method, get_method
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.foundation.teacher import Teacher, TeacherBackbone
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.runs import DERIVED, RUNS
from lorkit.decompose.runs.writing import RunContent, write_run
from lorkit.decompose.tasks import get_task
from lorkit.decompose.training.first_phase import BuiltModule, build_first_phase
from lorkit.decompose.training.foundation.pretraining import (
    OpenedFoundation,
    foundation_inputs,
    open_foundation,
    train_foundation,
    with_probes,
)
from lorkit.decompose.training.foundation.resolving import resolve_foundation
from lorkit.decompose.training.loop.devices import launch
from lorkit.decompose.training.phases import Trained, train_phases
from lorkit.decompose.training.plan import TrainingPlan, plan_training
from lorkit.decompose.training.tensorboard import check_tensorboard, recording
from lorkit.decompose.training.training_data import TrainingData, prepare_for_teacher, prepare_parts
from lorkit.decompose.training.work_directory import WorkDirectory, open_work_directory

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# Increment when the same settings would train another network, so that old runs are not "up to date".
_REVISION = 1


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """The result of `train`.

    Attributes:
        run: The run's directory.
        up_to_date: It existed already, from the same settings and data.
        plan: The plan of a dry run, which writes nothing.
        regions: Names in routing order.
        best: Mean of the headline metric on validation at the best epoch, by phase.
        seconds: Time of the student's phases, without the foundation.
        teacher_cache: Savings of the cache of the teacher's features, one row per phase; empty without one.
    """

    run: Path
    up_to_date: bool = False
    plan: TrainingPlan | None = None
    regions: tuple[str, ...] = ()
    best: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    teacher_cache: tuple[CacheStatistics, ...] = ()


class RunOptions(TypedDict, total=False):
    """Options of every command that makes a run; see `train`."""

    out: Path | str
    resume: bool
    force: bool
    dry_run: bool
    tensorboard: bool
    on_event: Listener


@dataclass(frozen=True, kw_only=True)
class Start:
    """The start of a training that replaces the foundation.

    Attributes:
        foundation: Builds it from the regions and their samples.
        origin: Plain data of the manifest with the source artifact, by digest.
        synthetic: Whether that was trained on drawn images.
    """

    foundation: Callable[[TrainingData], Foundation]
    origin: dict[str, Any]
    synthetic: bool


@dataclass(frozen=True, kw_only=True)
class _Task:
    """A configuration with its samples read and split, and its run directory."""

    config: Config
    method: Method
    samples: dict[str, RegionSamples]
    splits: Splits
    regions: RegionSet
    inputs: str
    start: Start | None = None
    teacher: Teacher | None = None

    @property
    def digests(self) -> dict[str, str]:
        """Of the data of each region."""
        return {name: samples.digest for name, samples in self.samples.items()}

    def training_data(self, on_event: Listener) -> TrainingData:
        """Prepare the training and validation parts, not the test part."""
        data = (self.config, self.samples, self.splits, self.config.deployed_image)
        parts = prepare_parts(*data, on_event=on_event)
        for text in (text for one in parts["train"].values() for text in one.notices):
            on_event(Notice(text=text))
        seen = prepare_for_teacher(*data, on_event=on_event)
        return TrainingData(regions=self.regions, digests=self.digests, teacher=seen, **parts)


class _Networks(NamedTuple):
    """Teacher and student, each built once: checked, and then trained."""

    foundation: OpenedFoundation
    first_phase: Mapping[str, BuiltModule]


def train(
    config: Config,
    *,
    out: Path | str = RUNS,
    resume: bool = False,
    force: bool = False,
    dry_run: bool = False,
    tensorboard: bool = False,
    start: Start | None = None,
    teacher: Teacher | None = None,
    on_event: Listener = ignore,
) -> TrainResult:
    """Decompose a foundation model into a run: a shared student with one expert per region, or a baseline.

    Args:
        config: Resolved settings; `config.method` selects the method.
        out: Directory of runs.
        resume: Continue an interrupted run of the same settings and data.
        force: Train again although the run is complete; the old one is kept until the new one is.
        dry_run: Return the plan, train and write nothing.
        tensorboard: Write the curves of every phase to the run's `tensorboard/`, as event files.
        start: Replaces the foundation of `config`.
        teacher: The user's own foundation, instead of that of `config`.
        on_event: Receives progress.

    Raises:
        UsageError: Unknown method or backbone, or an interrupted run and neither `resume` nor `force`.
        DataError: Images, labels or splits that cannot be used, or a loss that is not finite.
        StorageError: Another process trains the same run.
        MissingRuntimeError: `tensorboard` is not installed.
    """
    if tensorboard:
        check_tensorboard()
    task = _read(config, on_event, start, teacher)
    config = task.config
    directory = Path(out) / f"{config.name}-{config.method}-{task.inputs[:8]}"
    root = _foundations(directory)
    if dry_run:
        return TrainResult(
            run=directory,
            plan=plan_training(config, task.method, task.regions, task.splits, root, teacher),
            regions=task.regions.names,
        )
    if not force and is_current(directory, "run", task.inputs):
        return TrainResult(run=directory, up_to_date=True, regions=task.regions.names)
    notices = task.method.notices(config)  # raises for unsupported settings before further processes start
    networks = _build(task, root) if start is None else None
    fabric = launch(config.train)  # before locking: further processes run the command from its beginning
    listener = on_event if fabric.is_global_zero else ignore
    for text in notices:
        listener(Notice(text=text))
    try:
        with open_work_directory(directory, resume=resume, force=force, hint=True, fabric=fabric) as work:
            with recording(work.curves if tensorboard and work.first else None, listener) as told:
                trained, foundation = _train(task, networks, root, fabric, work, told)
            work.finish(lambda staging: _write(staging, task, trained, foundation, work), keep=DERIVED)
    except KeyboardInterrupt:
        listener(Notice(text="interrupted: finished epochs are kept, `decompose train --resume` continues after them"))
        raise
    best = {end.phase: end.best for end in trained.ends}
    seconds = sum(end.seconds for end in trained.ends)
    kept = tuple(trained.cache_statistics)
    return TrainResult(run=directory, regions=task.regions.names, best=best, seconds=seconds, teacher_cache=kept)


def _foundations(directory: Path) -> Path:
    """Return the directory of the foundations of a run, beside the directory of runs."""
    return directory.parent.parent / "foundations"


def pretrain(
    config: Config,
    *,
    out: Path | str = Path("foundations"),
    resume: bool = False,
    force: bool = False,
    teacher: Teacher | None = None,
    on_event: Listener = ignore,
) -> Path | None:
    """Pre-train the foundation of a configuration on its regions, or find it; arguments as in `train`.

    Returns:
        Its directory, `<out>/<digest>/`; None for a weights file or a teacher, which need no pre-training.
    """
    task = _read(config, on_event, teacher=teacher)
    opened = open_foundation(task.config, task.regions, task.digests, Path(out), force=force, teacher=teacher)
    fabric = launch(config.train)
    listener = on_event if fabric.is_global_zero else ignore
    training_data = task.training_data(listener)
    train_foundation(opened, task.config, training_data, fabric, listener, resume=resume, force=force, hint=True)
    return opened.directory


def _read(config: Config, on_event: Listener, start: Start | None = None, teacher: Teacher | None = None) -> _Task:
    method = get_method(config.method)
    dense = get_task(expected_task(config)).dense
    config = resolve_foundation(config, teacher) if start is None else config
    if teacher is not None:
        TeacherBackbone(teacher)  # raises for invalid outputs before any data is read
    named = [(config.foundation.backbone, config.foundation_image)] if teacher is None else []
    for backbone, image in (*named, (config.student.backbone, config.image)):
        with torch.device("meta"):  # raises for an unknown name before any data is read
            build_backbone(backbone, channels=image.channels, image_size=image.size, dense=dense)
    samples = read_regions(config, on_event)
    splits = split_regions(samples, config.split, seed=config.seed)
    regions = RegionSet(one.region for one in samples.values())
    data = {name: one.digest for name, one in samples.items()}
    foundation = foundation_inputs(config, regions, data, teacher)
    decides = {"revision": _REVISION, "settings": config_digest(config), "data": data, "foundation": foundation}
    inputs = digest_json(decides | ({"origin": start.origin} if start is not None else {}))
    return _Task(
        config=config,
        method=method,
        samples=samples,
        splits=splits,
        regions=regions,
        inputs=inputs,
        start=start,
        teacher=teacher,
    )


def _build(task: _Task, root: Path) -> _Networks:
    """Build teacher and student, and refuse what cannot be trained, before further processes start."""
    opened = open_foundation(task.config, task.regions, task.digests, root, teacher=task.teacher)
    counts = {name: len(task.splits.parts(name)["train"]) for name in task.regions.names}
    shared = (task.config, task.method, opened.foundation, task.regions, counts, root)
    return _Networks(opened, build_first_phase(*shared))


def _train(
    task: _Task, networks: _Networks | None, root: Path, fabric: Fabric, work: WorkDirectory, on_event: Listener
) -> tuple[Trained, Foundation]:
    training_data = task.training_data(on_event)
    if networks is not None:
        found = train_foundation(networks.foundation, task.config, training_data, fabric, on_event, resume=True)
    else:
        assert task.start is not None
        found = task.start.foundation(training_data)
    foundation = with_probes(found, training_data, on_event)
    trained = train_phases(
        task.config,
        task.method,
        training_data,
        foundation,
        directory=work.checkpoints,
        fabric=fabric,
        on_event=on_event,
        foundations=root,
        built=networks.first_phase if networks is not None else None,
    )
    return trained, foundation


def _write(staging: Path, task: _Task, trained: Trained, foundation: Foundation, work: WorkDirectory) -> None:
    origin = {"origin": task.start.origin} if task.start is not None else {}
    content = RunContent(
        config=task.config,
        regions=task.regions,
        splits=task.splits.to_json(task.samples),
        live=trained.live,
        foundation=foundation,
        rows=[row for end in trained.ends for row in end.history],
        synthetic=task.regions.synthetic or (task.start is not None and task.start.synthetic),
        inputs=task.inputs,
        extra=origin | ({"teacher_cache": trained.cache_statistics} if trained.cache_statistics else {}),
        checkpoints=work.checkpoints,
        curves=work.curves,
    )
    write_run(staging, content)
