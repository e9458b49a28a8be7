"""Add a region to a finished run: train its expert on its own data and keep everything else unchanged."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

import torch

from lorkit.decompose.artifacts import digest_json, load_tensors, read_json
from lorkit.decompose.config import Config, config_digest
from lorkit.decompose.data import RegionSamples, Splits, read_region, split_regions
from lorkit.decompose.data.batches.pool import pools_of
from lorkit.decompose.data.samples.pseudonyms import RUNS, Pseudonyms
from lorkit.decompose.data.splits import SPLIT_KEYS
from lorkit.decompose.data.unlabelled import counts_of, record_of
from lorkit.decompose.documents.training import Plan
from lorkit.decompose.errors import UsageError
from lorkit.decompose.events import Listener, Notice, ignore
from lorkit.decompose.lifecycle.new_region_model import (
    AddedRegion,
    check_unchanged,
    merge_region,
    single_region_model,
)
from lorkit.decompose.lifecycle.provenance import (
    cases_of_other_keys,
    origin_record,
    teaching_of,
    with_heads,
    with_known_head,
)
from lorkit.decompose.lifecycle.settings import config_with_region, only_region
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.student import with_fresh_student
from lorkit.decompose.models.backbones.unets import UNETS
from lorkit.decompose.models.foundation.model import load_foundation, load_strict
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.runs import Run
from lorkit.decompose.runs.live_model import WEIGHTS, build_model, tensors_of_decoder
from lorkit.decompose.runs.writing import RunContent
from lorkit.decompose.tasks import dense_outputs
from lorkit.decompose.training.feature_cache import feature_cache_factory
from lorkit.decompose.training.foundation.pretraining import run_phase, with_probes
from lorkit.decompose.training.loop.phase import Phase
from lorkit.decompose.training.new_run import RunOptions, TrainableRun, TrainedRun, Training, TrainResult, make_run
from lorkit.decompose.training.phases import meet_teachers, weaker_teachers
from lorkit.decompose.training.plan import plan_training
from lorkit.decompose.training.pseudo_labels import with_pseudo_labels
from lorkit.decompose.training.tensorboard import check_tensorboard
from lorkit.decompose.training.training_data import prepare_training_data, read_unlabelled_of
from lorkit.decompose.training.work_directory import WorkDirectory

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# Increment when the same settings would train another network.
_REVISION = 1


@dataclass(frozen=True, kw_only=True)
class _Addition(TrainableRun):
    """A run and its new region, with samples read and split; `regions` are all of them, the new one last."""

    run: Run
    samples: RegionSamples
    splits: Splits
    unlabelled: dict[str, RegionSamples] = field(default_factory=dict)

    @property
    def region(self) -> Region:
        return self.samples.region

    def plan(self, foundations: Path) -> Plan:
        """Return the training plan of the new region: no foundation, and only its own part of the student."""
        config, region = self.config, self.region
        given = config.foundation.model_copy(update={"weights": str(self.run.foundation_dir), "finetune": None})
        changes = {"foundation": given, "teachers": ()}
        only = only_region(with_fresh_student(config), region.name).model_copy(update=changes)
        known = (only, get_method(config.method), RegionSet([region]), self.splits, foundations)
        plan = plan_training(*known, unlabelled=counts_of(self.unlabelled))
        shared = load_tensors(self.run.path / WEIGHTS)
        module = AddedRegion(single_region_model(config, shared, region), config.train, config.lorkd, None)
        trained = sum(parameter.numel() for parameter in module.live.parameters() if parameter.requires_grad)
        return plan.with_changes(training_parameters=trained, origin=origin_record(self.run.manifest, "add-region"))

    def begin(self, foundations: Path) -> Training:
        """Return what trains the region."""
        return partial(self._train, foundations)

    def _train(self, foundations: Path, fabric: Fabric, work: WorkDirectory, on_event: Listener) -> TrainedRun:
        config, region = self.config.model_copy(update={"teachers": ()}), self.region
        if self.config.teachers:
            on_event(Notice(text=f"region '{region.name}' learns from the foundation of the run alone"))
        data = prepare_training_data(config, {region.name: self.samples}, self.splits, on_event, self.unlabelled)
        source = load_foundation(self.run.foundation_dir)
        teacher = with_probes(with_known_head(self.run, source, region), data, on_event)
        data = with_pseudo_labels(data, teacher, config.unlabelled, on_event)
        cached = {name: pool.cached for name, pool in pools_of(data.train, data.unlabelled, data.regions).items()}
        cache_factory = feature_cache_factory(config, cached, foundations, asked=True, on_event=on_event)
        name = f"add-{region.name}"
        phase = Phase.of(name, data, config, work.checkpoints, cache_factory=cache_factory, taught=True)
        shared = load_tensors(self.run.path / WEIGHTS)
        torch.manual_seed(config.seed)  # before anything is built, in every process
        module = AddedRegion(single_region_model(config, shared, region), config.train, config.lorkd, teacher)
        (scores,) = meet_teachers(module, [teacher], data, RegionSet([region]), fabric.device, on_event)
        end = run_phase(module, phase, fabric, [teacher], on_event)
        for text in weaker_teachers(scores, end, module.advice):
            on_event(Notice(text=text))
        module.live.cpu()
        teacher.model.cpu()  # its backbone is that of `source`
        live = build_model(config, self.regions)
        # a region without masks has untrained experts in a decoder that it does not use
        tensors = {**tensors_of_decoder(config, live.state_dict()), **merge_region(shared, module.live)}
        load_strict(live, tensors, work.path / WEIGHTS)
        kept, names = check_unchanged(shared, cast(RegionalModel, live), region.name), ", ".join(self.run.regions.names)
        on_event(Notice(text=f"{names}: unchanged, {kept} of {kept} tensors of {self.run.id} are equal bit by bit"))
        content = RunContent(
            config=self.config,
            regions=self.regions,
            splits=self._split_document(),
            live=live.eval(),
            foundation=with_heads(source, self.regions, [teacher]),
            rows=[*self.run.metrics, *end.history],
            synthetic=self.run.synthetic or self.regions.synthetic,
            inputs=self.inputs,
            extra=self._extra(),
            checkpoints=work.checkpoints,
            curves=work.curves,
        )
        return TrainedRun(content, (end,))

    def _extra(self) -> dict[str, Any]:
        """Return the run that it is made from, and how this one and the new region were taught."""
        found = teaching_of(self.run, self.run.regions.names)
        others = found.get("unlabelled", {}) | record_of(self.unlabelled, self.key)
        origin = origin_record(self.run.manifest, "add-region", region=self.region.name)
        return {"origin": origin, **found, **({"unlabelled": others} if others else {})}

    def _split_document(self) -> dict[str, Any]:
        """Return `splits.json`: the locked parts of the other regions unchanged, and the parts of the new one."""
        document = read_json(self.run.path / "splits.json", kind="splits")
        new = self.splits.to_json({self.region.name: self.samples}, self.key)
        return {**document, **{stated: {**document[stated], **new[stated]} for stated in SPLIT_KEYS}}


def add_region(run: Run, region: str, config: Config, **options: Unpack[RunOptions]) -> TrainResult:
    """Make a new run with one more region. The old run is not changed.

    Only the factors, norms and head of the new region are trained, on its data, with the losses of LoRKD and the run's
    foundation. The tensors of the other regions are copied, so their experts stay identical bit by bit.

    Args:
        run: A finished run of method `lorkd`.
        region: Name of the new region.
        config: Its data, and settings of its training that differ from the run's (see `config_with_region`).
        options: As in `train`.

    Raises:
        UsageError: The run has no experts, or has the region already; the configuration lacks it, or contradicts the
            run; an interrupted addition and neither `resume` nor `force`.
        DataError: The region's data cannot be used.
        ArtifactError: The run is damaged.
        MissingRuntimeError: `tensorboard` is not installed.
    """
    if options.get("tensorboard"):
        check_tensorboard()
    on_event, out = options.get("on_event", ignore), Path(options.get("out", RUNS))
    for text in cases_of_other_keys(run, run.regions.names, out):
        on_event(Notice(text=text))
    keys = Pseudonyms(out, create=not options.get("dry_run", False))
    return make_run(_read(run, region, config, keys, on_event), **options)


def _read(run: Run, region: str, stated: Config, pseudonyms: Pseudonyms, on_event: Listener) -> _Addition:
    if run.config.method != "lorkd":
        raise UsageError(
            f"--add-region to {run.path}, a run of method '{run.config.method}'",
            required="a run of method 'lorkd'",
            fix="train one with `decompose train --method lorkd`",
        )
    if region in run.regions.names:
        raise UsageError(
            f"region '{region}' is in run {run.path} already",
            required=f"a name other than {', '.join(run.regions.names)}",
            fix="rename the new region, or remove the old one first with --remove-region",
        )
    config = config_with_region(run, stated, region)
    samples = read_region(
        region, config.regions[region], base=stated.base, dims=len(config.image.size), pseudonyms=pseudonyms
    )
    if config.student.backbone in UNETS and dense_outputs([samples.region]) and not dense_outputs(run.regions):
        raise UsageError(
            f"region '{region}' with masks for {run.path}, whose {config.student.backbone} has no decoder",
            required="a run with a region of masks",
            fix="train again with all regions",
        )
    splits = split_regions({region: samples}, config.split, seed=config.seed)
    # the run has the student's weights, so that the file it started from is needed no more
    decides = {"settings": config_digest(with_fresh_student(config)), "data": samples.digest}
    known = (get_method(config.method), {region: samples}, splits, on_event, pseudonyms)
    unlabelled = read_unlabelled_of(config, *known)
    if unlabelled:
        decides["unlabelled"] = unlabelled[region].digest
    origin = {"run": run.manifest.digest, "region": region}
    return _Addition(
        config=config,
        regions=RegionSet([*run.regions, samples.region]),
        key=pseudonyms.key,
        inputs=digest_json({"revision": _REVISION, **decides, **origin}),
        run=run,
        samples=samples,
        splits=splits,
        unlabelled=unlabelled,
    )
