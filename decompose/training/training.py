"""The commands `train` and `pretrain`: from a configuration to a finished run on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import torch

from lorkit.decompose.artifacts import digest_json
from lorkit.decompose.config import Config, config_digest
from lorkit.decompose.data import RegionSamples, Splits, read_regions, split_regions
from lorkit.decompose.data.readers.registry import expected_task
from lorkit.decompose.data.samples.pseudonyms import RUNS, Pseudonyms
from lorkit.decompose.data.splits import regions_of_same_images
from lorkit.decompose.data.unlabelled import counts_of, record_of
from lorkit.decompose.documents.training import Plan
from lorkit.decompose.events import Listener, Notice, ignore
from lorkit.decompose.methods import Method, get_method
from lorkit.decompose.methods.student import resolve_student, student_notices, student_record
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.foundation.teacher import Teacher, TeacherBackbone
from lorkit.decompose.regions import NODE, RegionSet
from lorkit.decompose.runs.writing import RunContent
from lorkit.decompose.tasks import get_task
from lorkit.decompose.training.first_phase import build_first_phase
from lorkit.decompose.training.foundation.further_teachers import (
    inputs_of_teachers,
    open_teachers,
    resolve_teachers,
    teacher_records,
    train_teachers,
    with_used_teachers,
)
from lorkit.decompose.training.foundation.pretraining import (
    OpenedFoundation,
    foundation_inputs,
    open_foundation,
    train_foundation,
    with_probes,
)
from lorkit.decompose.training.foundation.resolving import resolve_foundation
from lorkit.decompose.training.gradient_check import resolve_for_data
from lorkit.decompose.training.loop.devices import launch
from lorkit.decompose.training.loop.early_stopping import patience_notices
from lorkit.decompose.training.memory import check_batch
from lorkit.decompose.training.new_run import RunOptions, TrainableRun, TrainedRun, Training, TrainResult, make_run
from lorkit.decompose.training.phases import Trained, train_phases
from lorkit.decompose.training.plan import plan_training, repetition_notices
from lorkit.decompose.training.tensorboard import check_tensorboard
from lorkit.decompose.training.training_data import TrainingData, prepare_training_data, read_unlabelled_of
from lorkit.decompose.training.work_directory import WorkDirectory

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# Increment when the same settings would train another network, so that old runs are not "up to date".
_REVISION = 2


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
class _Decomposition(TrainableRun):
    """A configuration with its samples read and split."""

    method: Method
    samples: dict[str, RegionSamples]
    splits: Splits
    unlabelled: dict[str, RegionSamples] = field(default_factory=dict)
    start: Start | None = None
    teacher: Teacher | None = None

    @cached_property
    def student(self) -> dict[str, Any]:
        """The source of the student's weights, as the manifest has it."""
        return student_record(self.config, self.method, self.regions)

    def plan(self, foundations: Path) -> Plan:
        """Describe the training."""
        shared = (self.config, self.method, self.regions, self.splits, foundations, self.teacher)
        return plan_training(*shared, unlabelled=counts_of(self.unlabelled), samples=self.samples)

    def open_foundation(self, root: Path, *, force: bool = False) -> OpenedFoundation:
        """Load the foundation, or build the network to pre-train below `root`."""
        digests = {name: samples.digest for name, samples in self.samples.items()}
        return open_foundation(self.config, self.regions, digests, root, force=force, teacher=self.teacher)

    def open_teachers(self, root: Path) -> list[OpenedFoundation]:
        """Load the further teachers, or build their networks to train."""
        digests = {name: samples.digest for name, samples in self.samples.items()}
        return open_teachers(self.config, self.regions, digests, root)

    def training_data(self, on_event: Listener) -> TrainingData:
        """Prepare the training and validation parts, not the test part."""
        return prepare_training_data(self.config, self.samples, self.splits, on_event, self.unlabelled)

    def notices(self) -> list[str]:
        """Return the notices of the method, of the student and of the patience."""
        student = student_notices(self.config, self.method)
        return [*self.method.notices(self.config), *student, *patience_notices(self.config.train)]

    def repetitions(self) -> list[str]:
        """Return the samples that a batch has more than once."""
        return repetition_notices(self.config, self.method, self.regions, self.splits, self.unlabelled)

    def begin(self, foundations: Path) -> Training:
        """Build and check teacher and student once, before they are trained."""
        notices = self.notices()
        notices += [f"{self.config.student.weights}: {known['report']}" for known in self.student.values()]
        opened, others, built = None, self.open_teachers(foundations), {}
        counts = {name: len(self.splits.parts(name)["train"]) for name in self.regions.names}
        if self.method.without_foundation:
            built = build_first_phase(self.config, self.method, None, self.regions, counts, foundations)
        elif self.start is None:
            opened = self.open_foundation(foundations)
            shared = (self.method, opened.foundation, self.regions, counts, foundations)
            built = build_first_phase(self.config, *shared, [one.foundation for one in others])

        def run(fabric: Fabric, work: WorkDirectory, on_event: Listener) -> TrainedRun:
            for text in notices:
                on_event(Notice(text=text))
            data = self.training_data(on_event)
            if opened is not None:
                found = train_foundation(opened, self.config, data, fabric, on_event, resume=True)
            elif self.start is not None:
                found = self.start.foundation(data)
            foundation = None if self.method.without_foundation else with_probes(found, data, on_event)
            further = train_teachers(others, self.config, data, fabric, on_event)
            places = {"directory": work.checkpoints, "foundations": foundations}
            trained = train_phases(
                self.config,
                self.method,
                data,
                foundation,
                **places,
                fabric=fabric,
                on_event=on_event,
                built=built,
                further=further,
            )
            return TrainedRun(self._content(trained, foundation, further, work), trained.ends)

        return run

    def _content(
        self, trained: Trained, foundation: Foundation | None, further: Sequence[Foundation], work: WorkDirectory
    ) -> RunContent:
        origin = ({"origin": self.start.origin} if self.start is not None else {}) | self.student
        if self.unlabelled:
            origin["unlabelled"] = record_of(self.unlabelled, self.key)
        if further and foundation is not None:
            origin["teachers"] = teacher_records([foundation, *further], trained.teaching)
        if any(end.stopped for end in trained.ends):
            origin["stopped"] = {end.phase: end.stopped for end in trained.ends if end.stopped is not None}
        return RunContent(
            config=self.config,
            regions=self.regions,
            splits=self.splits.to_json(self.samples, self.key),
            live=trained.live,
            foundation=foundation,
            rows=[row for end in trained.ends for row in end.history],
            synthetic=self.regions.synthetic or (self.start is not None and self.start.synthetic),
            inputs=self.inputs,
            extra=origin | ({"teacher_cache": trained.cache_statistics} if trained.cache_statistics else {}),
            checkpoints=work.checkpoints,
            curves=work.curves,
        )


def train(
    config: Config, *, start: Start | None = None, teacher: Teacher | None = None, **options: Unpack[RunOptions]
) -> TrainResult:
    """Decompose a foundation model into a run: a shared student with one expert per region, or a baseline.

    Args:
        config: Resolved settings; `config.method` selects the method.
        start: Replaces the foundation of `config`.
        teacher: The user's own foundation, instead of that of `config`.
        options: See `RunOptions`.

    Raises:
        UsageError: Unknown method or backbone, or an interrupted run and neither `resume` nor `force`.
        DataError: Images, labels or splits that cannot be used, or a loss that is not finite.
        StorageError: Another process trains the same run.
        MissingRuntimeError: `tensorboard` is not installed.
    """
    if options.get("tensorboard"):
        check_tensorboard()
    keys = Pseudonyms(Path(options.get("out", RUNS)), create=not options.get("dry_run", False))
    return make_run(_read(config, options.get("on_event", ignore), keys, start, teacher), **options)


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

    Return its directory, `<out>/<digest>/`; None for a weights file or a teacher, which need no pre-training.
    """
    new = _read(config, on_event, Pseudonyms(create=True), teacher=teacher)
    opened = new.open_foundation(Path(out), force=force)
    fabric = launch(config.train)
    listener = on_event if fabric.is_global_zero else ignore
    data = new.training_data(listener)
    train_foundation(opened, new.config, data, fabric, listener, resume=resume, force=force, hint=True)
    return opened.directory


def _read(
    config: Config,
    on_event: Listener,
    pseudonyms: Pseudonyms,
    start: Start | None = None,
    teacher: Teacher | None = None,
) -> _Decomposition:
    method = get_method(config.method)
    config = with_used_teachers(config, method, on_event)
    task = expected_task(config)
    if task != NODE:  # the shape of a graph's nodes is known from its data
        config = _known_networks(config, start, teacher, dense=get_task(task).dense)
    samples = read_regions(config, on_event, pseudonyms)
    for text in (f"region '{name}': {text}" for name, one in samples.items() for text in one.notices):
        on_event(Notice(text=text))
    splits = split_regions(samples, config.split, seed=config.seed)
    if task == NODE:
        from lorkit.decompose.data.node_samples import split_notices, visible_labels  # with SciPy, for graphs alone
        from lorkit.decompose.training.graph_settings import resolve_graphs

        for text in split_notices(samples, config.split):
            on_event(Notice(text=text))
        config = _known_networks(resolve_graphs(config, method, samples, splits), start, teacher)
        samples = visible_labels(samples, {name: splits.parts(name)["train"] for name in samples}, config.split)
    for one, other in regions_of_same_images(samples) if method.finds_region else ():
        text = f"regions '{one}' and '{other}' have the same images: method {method.name} cannot tell them apart there"
        on_event(Notice(text=f"{text}; with mola.heads all-heads it gives the answers of both"))
    regions = RegionSet(one.region for one in samples.values())
    counts = {name: len(splits.parts(name)["train"]) for name in regions.names}
    config = resolve_for_data(config, method, regions, counts)
    unlabelled = read_unlabelled_of(config, method, samples, splits, on_event, pseudonyms)
    config = method.fit_to_counts(config, {name: n + len(unlabelled.get(name, ())) for name, n in counts.items()})
    data = {name: one.digest for name, one in samples.items()}
    foundation = foundation_inputs(config, regions, data, teacher)
    decides = {"revision": _REVISION, "settings": config_digest(config), "data": data, "foundation": foundation}
    if config.teachers:
        decides["teachers"] = inputs_of_teachers(config, regions, data)
    if unlabelled:
        decides["unlabelled"] = {name: one.digest for name, one in unlabelled.items()}
    inputs = digest_json(decides | ({"origin": start.origin} if start is not None else {}))
    return _Decomposition(
        config=config,
        method=method,
        samples=samples,
        splits=splits,
        unlabelled=unlabelled,
        regions=regions,
        inputs=inputs,
        key=pseudonyms.key,
        start=start,
        teacher=teacher,
    )


def _known_networks(config: Config, start: Start | None, teacher: Teacher | None, *, dense: bool = False) -> Config:
    """Return the configuration with its foundation resolved; raise an error for a network that cannot be built."""
    config = resolve_teachers(resolve_foundation(resolve_student(config), teacher)) if start is None else config
    if teacher is not None:
        TeacherBackbone(teacher)  # raises for invalid outputs
    named = [(config.foundation.backbone, config.foundation_image)] if teacher is None else []
    further = [config.of_teacher(index) for index in range(len(config.teachers))]
    named += [(one.foundation.backbone, one.foundation_image) for one in further]
    for backbone, image in (*named, (config.student.network, config.image)):
        with torch.device("meta"):
            build_backbone(backbone, channels=image.channels, image_size=image.size, dense=dense)
    check_batch(config)
    return config
