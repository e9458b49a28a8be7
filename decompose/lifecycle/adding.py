"""Add a region to a finished run: train its expert on its own data and keep everything else unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lorkit.decompose.artifacts import digest_json, is_current, load_tensors, read_json
from lorkit.decompose.config import Config, config_digest
from lorkit.decompose.data import RegionSamples, Splits, read_region, split_regions
from lorkit.decompose.errors import UsageError
from lorkit.decompose.events import Finished, Listener, Notice, ignore
from lorkit.decompose.lifecycle.new_region_model import AddedRegion, merge_region, single_region_model
from lorkit.decompose.lifecycle.provenance import origin_record, with_heads, with_known_head
from lorkit.decompose.lifecycle.settings import config_with_region, only_region
from lorkit.decompose.methods import get_method
from lorkit.decompose.models.foundation.model import Foundation, load_foundation, load_strict
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.runs import DERIVED, RUNS, Run
from lorkit.decompose.runs.live_model import WEIGHTS, build_model
from lorkit.decompose.runs.writing import RunContent, write_run
from lorkit.decompose.training.feature_cache import feature_cache_factory
from lorkit.decompose.training.foundation.pretraining import run_phase, with_probes
from lorkit.decompose.training.loop.devices import launch
from lorkit.decompose.training.loop.epochs import Phase
from lorkit.decompose.training.plan import TrainingPlan, plan_training
from lorkit.decompose.training.tensorboard import check_tensorboard, recording
from lorkit.decompose.training.training import TrainResult
from lorkit.decompose.training.training_data import TrainingData, prepare_for_teacher, prepare_parts
from lorkit.decompose.training.work_directory import WorkDirectory, open_work_directory

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# Increment when the same settings would train another network.
_REVISION = 1


@dataclass(frozen=True, kw_only=True)
class _Addition:
    """A run and its new region, with samples read and split."""

    run: Run
    config: Config
    samples: RegionSamples
    splits: Splits

    @property
    def region(self) -> Region:
        return self.samples.region

    @property
    def regions(self) -> RegionSet:
        """All regions, the new one last."""
        return RegionSet([*self.run.regions, self.region])

    @property
    def phase(self) -> str:
        return f"add-{self.region.name}"

    @property
    def inputs(self) -> str:
        """Digest of everything that determines the new run."""
        decides = {"settings": config_digest(self.config), "data": self.samples.digest}
        origin = {"run": self.run.manifest.digest, "region": self.region.name}
        return digest_json({"revision": _REVISION, **decides, **origin})

    def training_data(self, on_event: Listener) -> TrainingData:
        """Prepare the training and validation parts of the new region; no other data are read."""
        name = self.region.name
        data = (self.config, {name: self.samples}, self.splits, self.config.image)
        parts, seen = prepare_parts(*data, on_event=on_event), prepare_for_teacher(*data, on_event=on_event)
        for text in parts["train"][name].notices:
            on_event(Notice(text=text))
        only, digests = RegionSet([self.region]), {name: self.samples.digest}
        return TrainingData(regions=only, digests=digests, teacher=seen, **parts)

    def split_document(self) -> dict[str, Any]:
        """Return `splits.json`: the locked parts of the other regions unchanged, and those of the new one."""
        document = read_json(self.run.path / "splits.json", kind="splits")
        new = self.splits.to_json({self.region.name: self.samples})
        return {**document, **{key: {**document[key], **new[key]} for key in ("regions", "labels")}}


@dataclass(frozen=True, kw_only=True)
class _TrainedRegion:
    """The result of the training: the tensors of all regions, the foundation with all heads, the losses."""

    tensors: dict[str, torch.Tensor]
    foundation: Foundation
    end: Finished


def add_region(
    run: Run,
    region: str,
    config: Config,
    *,
    out: Path | str = RUNS,
    resume: bool = False,
    force: bool = False,
    dry_run: bool = False,
    tensorboard: bool = False,
    on_event: Listener = ignore,
) -> TrainResult:
    """Make a new run with one more region. The old run is not changed.

    Only the factors, norms and head of the new region are trained, on its data, with the losses of LoRKD and the run's
    foundation. The tensors of the other regions are copied, so their experts stay identical bit by bit.

    Args:
        run: A finished run of method `lorkd`.
        region: Name of the new region.
        config: Its data, and settings of its training that differ from the run's (see `config_with_region`).
        out: Directory of runs.
        resume: Continue an interrupted addition.
        force: Train again although the new run is complete.
        dry_run: Return the plan, train and write nothing.
        tensorboard: Write curves to the new run's `tensorboard/`, as event files.
        on_event: Receives progress.

    Raises:
        UsageError: The run has no experts, or has the region already; the configuration lacks it, or contradicts the
            run; an interrupted addition and neither `resume` nor `force`.
        DataError: The region's data cannot be used.
        ArtifactError: The run is damaged.
        MissingRuntimeError: `tensorboard` is not installed.
    """
    if tensorboard:
        check_tensorboard()
    addition = _read(run, region, config)
    name = f"{addition.config.name}-{addition.config.method}-{addition.inputs[:8]}"
    directory, names = Path(out) / name, addition.regions.names
    if dry_run:
        return TrainResult(run=directory, plan=_plan(addition), regions=names)
    if not force and is_current(directory, "run", addition.inputs):
        return TrainResult(run=directory, up_to_date=True, regions=names)
    fabric = launch(addition.config.train)
    listener = on_event if fabric.is_global_zero else ignore
    try:
        with open_work_directory(directory, resume=resume, force=force, hint=True, fabric=fabric) as work:
            with recording(work.curves if tensorboard and work.first else None, listener) as told:
                trained_region = _train(addition, fabric, work, told, Path(out).parent / "foundations")
            work.finish(lambda staging: _write(staging, addition, trained_region, work), keep=DERIVED)
    except KeyboardInterrupt:
        listener(
            Notice(text="interrupted: finished epochs are kept, the same command with --resume continues after them")
        )
        raise
    best = {trained_region.end.phase: trained_region.end.best}
    return TrainResult(run=directory, regions=names, best=best, seconds=trained_region.end.seconds)


def _read(run: Run, region: str, stated: Config) -> _Addition:
    if run.config.method != "lorkd":
        raise UsageError(
            f"--add-region to {run.path}, a run of method '{run.config.method}', which has no experts",
            required="a run of method 'lorkd'",
            fix="train one with `decompose train --method lorkd`",
        )
    if region in run.regions.names:
        raise UsageError(
            f"region '{region}' is in run {run.path} already",
            required=f"another name than {', '.join(run.regions.names)}",
            fix="rename the new region, or remove the old one first with --remove-region",
        )
    config = config_with_region(run, stated, region)
    samples = read_region(region, config.regions[region], base=stated.base, dims=len(config.image.size))
    splits = split_regions({region: samples}, config.split, seed=config.seed)
    return _Addition(run=run, config=config, samples=samples, splits=splits)


def _train(
    addition: _Addition, fabric: Fabric, work: WorkDirectory, on_event: Listener, foundations: Path
) -> _TrainedRegion:
    config, region, run = addition.config, addition.region, addition.run
    training_data = addition.training_data(on_event)
    source = load_foundation(run.foundation_dir)
    teacher = with_probes(with_known_head(run, source, region), training_data, on_event)
    cache_factory = feature_cache_factory(config, training_data.train, foundations, asked=True, on_event=on_event)
    phase = Phase(
        name=addition.phase,
        regions=training_data.regions,
        train=training_data.train,
        val=training_data.val,
        settings=config.train,
        seed=config.seed,
        directory=work.checkpoints / addition.phase,
        teacher_train=training_data.teacher["train"] if training_data.teacher is not None else None,
        cache_factory=cache_factory,
    )
    shared = load_tensors(run.path / WEIGHTS)
    torch.manual_seed(config.seed)  # before anything is built, in every process
    module = AddedRegion(single_region_model(config, shared, region), config.train, config.lorkd, teacher)
    end = run_phase(module, phase, fabric, teacher, on_event)
    module.live.cpu()
    teacher.model.cpu()  # its backbone is that of `source`
    tensors = merge_region(shared, module.live)
    return _TrainedRegion(tensors=tensors, foundation=with_heads(source, addition.regions, [teacher]), end=end)


def _write(staging: Path, addition: _Addition, trained_region: _TrainedRegion, work: WorkDirectory) -> None:
    run, regions = addition.run, addition.regions
    live = build_model(addition.config, regions)
    load_strict(live, trained_region.tensors, staging / WEIGHTS)
    origin = origin_record(run.manifest, "add-region", region=addition.region.name)
    content = RunContent(
        config=addition.config,
        regions=regions,
        splits=addition.split_document(),
        live=live.eval(),
        foundation=trained_region.foundation,
        rows=[*run.metrics, *trained_region.end.history],
        synthetic=run.manifest.synthetic or regions.synthetic,
        inputs=addition.inputs,
        extra={"origin": origin},
        checkpoints=work.checkpoints,
        curves=work.curves,
    )
    write_run(staging, content)


def _plan(addition: _Addition) -> TrainingPlan:
    """Return the plan of training one region, without foundation and shared weights."""
    config, region = addition.config, addition.region
    given = config.foundation.model_copy(update={"weights": str(addition.run.foundation_dir)})
    only, regions = only_region(config, region.name).model_copy(update={"foundation": given}), RegionSet([region])
    plan = plan_training(only, get_method(config.method), regions, addition.splits)
    shared = load_tensors(addition.run.path / WEIGHTS)
    module = AddedRegion(single_region_model(config, shared, region), config.train, config.lorkd, None)
    trained = sum(parameter.numel() for parameter in module.live.parameters() if parameter.requires_grad)
    return {**plan, "training_parameters": trained, "origin": origin_record(addition.run.manifest, "add-region")}
