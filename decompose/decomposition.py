"""The verbs `train` and `pretrain`: from a configuration to a finished run on disk."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from lorkit.decompose.artifacts import SCHEMA_VERSION, digest_json, is_current, write_json, write_manifest, write_text
from lorkit.decompose.checkpoints import Checkpoints
from lorkit.decompose.config import Config, config_digest, dump_config
from lorkit.decompose.data import RegionSamples, Splits, prepare, read_regions, split_regions
from lorkit.decompose.events import Listener, Notice, ignore
from lorkit.decompose.methods import Method, TrainingModule, get_method
from lorkit.decompose.models.backbones import build_backbone
from lorkit.decompose.models.cost import count_macs, count_parameters
from lorkit.decompose.models.foundation import Foundation, save_foundation
from lorkit.decompose.models.live import save_live
from lorkit.decompose.models.regional import RegionalModel, SeparateModels
from lorkit.decompose.pretraining import Material, foundation_for, foundation_inputs, with_probes
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.runs import OUTSIDE, RUNS
from lorkit.decompose.training import Phase, fit, launch
from lorkit.decompose.transforms import build_recipe
from lorkit.decompose.workplace import Workplace, working

# Raised when the same settings would train something else than before: old runs are then no longer "up to date".
_REVISION = 1


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What `train` made, or would make.

    Attributes:
        run: The run's directory.
        up_to_date: It was there already, made from the same settings and data.
        plan: For a dry run, what would happen; nothing was written.
        regions: Names in routing order.
        best: Mean balanced accuracy on validation of the epoch that was kept, by phase.
    """

    run: Path
    up_to_date: bool = False
    plan: dict[str, Any] | None = None
    regions: tuple[str, ...] = ()
    best: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Task:
    """A configuration with its samples read, split and named."""

    config: Config
    method: Method
    samples: dict[str, RegionSamples]
    splits: Splits
    regions: RegionSet
    inputs: str

    def material(self, on_event: Listener) -> Material:
        """Prepare the training and validation parts; the test part is not even prepared."""
        parts: dict[str, dict[str, Any]] = {"train": {}, "val": {}}
        for name, samples in self.samples.items():
            recipe = build_recipe(self.config.image, self.config.regions[name])
            for part, prepared in parts.items():
                prepared[name] = prepare(samples, recipe, indices=self.splits.parts(name)[part])
            for text in parts["train"][name].notices:
                on_event(Notice(text=text))
        digests = {name: samples.digest for name, samples in self.samples.items()}
        return Material(regions=self.regions, digests=digests, **parts)


def train(
    config: Config,
    *,
    out: Path | str = RUNS,
    resume: bool = False,
    force: bool = False,
    dry_run: bool = False,
    on_event: Listener = ignore,
) -> TrainResult:
    """Decompose a foundation model into a run: a shared student with an expert a region, or a baseline.

    Args:
        config: Resolved settings; `config.method` decides what is trained.
        out: Directory of runs.
        resume: Continue an interrupted run of the same settings and data.
        force: Train again although the run is complete; the old one stays until the new one is.
        dry_run: Return the plan, train and write nothing.
        on_event: Receives progress.

    Raises:
        UsageError: Unknown method or backbone, or an interrupted run and neither `resume` nor `force`.
        DataError: Images, labels or splits that cannot be used, or a loss that is not finite.
        StorageError: Another process trains the same run.
    """
    task = _read(config)
    directory = Path(out) / f"{config.name}-{config.method}-{task.inputs[:8]}"
    if dry_run:
        return TrainResult(run=directory, plan=_plan(task), regions=task.regions.names)
    if not force and is_current(directory, "run", task.inputs):
        return TrainResult(run=directory, up_to_date=True, regions=task.regions.names)
    for text in task.method.notices(config):
        on_event(Notice(text=text))
    with working(directory, resume=resume, force=force, hint=True) as place:
        fabric = launch(config.train)
        material = task.material(on_event)
        root = directory.parent.parent / "foundations"
        found, _ = foundation_for(config, material, root, fabric, on_event, resume=True, force=False)
        foundation = with_probes(found, material, on_event)
        live, history, best = _train_phases(task, material, foundation, fabric, place, on_event)
        if fabric.global_rank == 0:
            place.finish(lambda staging: _write(staging, task, live, foundation, history, place))
        fabric.barrier()
    return TrainResult(run=directory, regions=task.regions.names, best=best)


def pretrain(
    config: Config,
    *,
    out: Path | str = Path("foundations"),
    resume: bool = False,
    force: bool = False,
    on_event: Listener = ignore,
) -> Path | None:
    """Pre-train the foundation of a configuration on its regions, or find it again.

    Returns:
        Its directory, `<out>/<digest>/`; None where the configuration names a weights file, which needs none.
    """
    task = _read(config)
    fabric = launch(config.train)
    material = task.material(on_event)
    return foundation_for(config, material, Path(out), fabric, on_event, resume=resume, force=force)[1]


def _read(config: Config) -> _Task:
    method = get_method(config.method)
    for backbone in (config.foundation.backbone, config.student.backbone):
        with torch.device("meta"):  # only to refuse an unknown name before any data is read
            build_backbone(backbone, channels=config.image.channels, image_size=config.image.size)
    samples = read_regions(config)
    splits = split_regions(samples, config.split, seed=config.seed)
    regions = RegionSet(one.region for one in samples.values())
    data = {name: one.digest for name, one in samples.items()}
    material = Material(regions=regions, train={}, val={}, digests=data)
    foundation = foundation_inputs(config, material)
    inputs = digest_json(
        {"revision": _REVISION, "settings": config_digest(config), "data": data, "foundation": foundation}
    )
    return _Task(config=config, method=method, samples=samples, splits=splits, regions=regions, inputs=inputs)


def _train_phases(
    task: _Task, material: Material, foundation: Foundation, fabric: Fabric, place: Workplace, on_event: Listener
) -> tuple[RegionalModel | SeparateModels, list[dict[str, Any]], dict[str, float]]:
    phases = task.method.phases(task.regions)
    models: dict[str, RegionalModel] = {}
    history: list[dict[str, Any]] = []
    best: dict[str, float] = {}
    for regions in phases:
        name = task.config.method if len(phases) == 1 else f"{task.config.method}-{regions.names[0]}"
        phase = Phase(
            name=name,
            regions=regions,
            train=material.train,
            val=material.val,
            settings=task.config.train,
            seed=task.config.seed,
            directory=place.checkpoints / name,
        )
        torch.manual_seed(task.config.seed)  # before anything is built, the same for every phase
        module = task.method.build(task.config, regions, foundation)
        _run_phase(module, phase, fabric, foundation if task.method.uses_teacher else None, on_event)
        models[regions.names[0]] = module.live.cpu()
        progress = Checkpoints(phase.directory).load()[1]
        history += progress.history
        best[name] = progress.best
    live = models[task.regions.names[0]] if len(phases) == 1 else SeparateModels(models, task.regions)
    return live.eval(), history, best


def _run_phase(
    module: TrainingModule, phase: Phase, fabric: Fabric, teacher: Foundation | None, on_event: Listener
) -> None:
    # whether to continue was decided when the working directory was opened: what lies there is meant to be used
    for event in fit(module, phase, fabric, foundation=teacher, resume=True):
        on_event(event)


def _write(
    staging: Path,
    task: _Task,
    live: RegionalModel | SeparateModels,
    foundation: Foundation,
    history: list[dict[str, Any]],
    place: Workplace,
) -> None:
    synthetic = task.regions.synthetic
    write_text(staging / "config.yaml", dump_config(task.config))
    header = {"schema_version": SCHEMA_VERSION}
    write_json(staging / "regions.json", {**header, "kind": "regions", "regions": task.regions.to_json()})
    write_json(staging / "splits.json", task.splits.to_json(task.samples))
    write_text(staging / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in history))
    save_live(live, staging)
    (staging / "foundation").mkdir()
    save_foundation(foundation, staging / "foundation", synthetic=synthetic, inputs=task.inputs)
    shutil.copytree(place.checkpoints, staging / "checkpoints")
    write_manifest(
        staging,
        "run",
        synthetic=synthetic,
        parent=staging / "foundation",
        inputs=task.inputs,
        extra={"method": task.config.method, "name": task.config.name, "regions": list(task.regions.names)},
        outside=OUTSIDE,
    )


def _plan(task: _Task) -> dict[str, Any]:
    """Describe what training would do, from shapes alone."""
    config = task.config
    image = config.image
    shape = (image.channels, *image.size)
    foundation = build_backbone(config.foundation.backbone, channels=image.channels, image_size=image.size)
    module = task.method.build(config, task.method.phases(task.regions)[0], None)
    student = build_backbone(config.student.backbone, channels=image.channels, image_size=image.size)
    routing = module.live.routing
    return {
        "method": config.method,
        "phases": [list(regions.names) for regions in task.method.phases(task.regions)],
        "regions": {
            name: {part: len(indices) for part, indices in task.splits.parts(name).items()} for name in task.samples
        },
        "input": list(shape),
        "foundation": {
            "backbone": config.foundation.backbone,
            "parameters": count_parameters(foundation),
            "macs": count_macs(foundation, shape),
        },
        "student": {
            "backbone": config.student.backbone,
            "parameters": count_parameters(student),
            "macs": count_macs(student, shape),
        },
        "training_parameters": count_parameters(module),
        "expert_layers": list(routing.wrapped),
        "layers_without_experts": [list(pair) for pair in routing.skipped],
        "epochs": config.train.epochs,
        "batch_size": config.train.batch_size,
    }
