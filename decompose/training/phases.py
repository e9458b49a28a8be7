"""Train the phases of a method, for `train` and for the cells of `compare`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from lorkit.decompose.config import Config
from lorkit.decompose.data.batches.pool import pools_of
from lorkit.decompose.events import CacheStatistics, EpochRow, Finished, Listener, Notice
from lorkit.decompose.methods import FitsInOneGo, Method, TrainingModule
from lorkit.decompose.methods.distillation.predistillation import start_from
from lorkit.decompose.methods.several_teachers import SeveralTeachers, build_module
from lorkit.decompose.models.cost import count_parameters, later_training_macs
from lorkit.decompose.models.foundation.model import Foundation, with_regions
from lorkit.decompose.models.regional import RegionalModel, SeparateModels
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.tasks import get_task, validation_name
from lorkit.decompose.training.feature_cache import cache_statistics, feature_cache_factory
from lorkit.decompose.training.first_phase import BuiltModule, adapted, steps_of
from lorkit.decompose.training.foundation.further_teachers import Teaching
from lorkit.decompose.training.foundation.pretraining import run_phase, set_random_state
from lorkit.decompose.training.loop.phase import Phase
from lorkit.decompose.training.loop.validation import validation_score
from lorkit.decompose.training.predistillation import predistil
from lorkit.decompose.training.pseudo_labels import with_pseudo_labels
from lorkit.decompose.training.training_data import TrainingData

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Results of the phases of a method.

    Attributes:
        live: All regions, in eval mode on the CPU, as it is saved.
        ends: Result of each phase.
        parameters: Parameters of all phases in training: networks, unmerged experts, projectors, without the teacher,
            which methods share.
        phase_macs: For each phase, a function that counts `macs` of its network.
        teaching: By region, what each teacher was worth; empty unless there are several.
    """

    live: RegionalModel | SeparateModels
    ends: tuple[Finished, ...]
    parameters: int
    phase_macs: Sequence[Callable[[], int]] = ()
    teaching: Mapping[str, Teaching] = field(default_factory=dict)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one image through the network in training, the most of any region and phase."""
        return max(count() for count in self.phase_macs)

    @property
    def cache_statistics(self) -> list[CacheStatistics]:
        """Savings of the cache of the teacher's features, one row per phase; empty without one."""
        return cache_statistics(row for end in self.ends for row in end.history)

    @property
    def seconds(self) -> float:
        """Seconds of all training epochs, including those before an interruption, without validation."""
        return float(sum(row["seconds"] for end in self.ends for row in end.history))


def train_phases(
    config: Config,
    method: Method,
    training_data: TrainingData,
    foundation: Foundation | None,
    *,
    directory: Path,
    fabric: Fabric,
    on_event: Listener,
    foundations: Path = Path("foundations"),
    built: Mapping[str, BuiltModule] | None = None,
    further: Sequence[Foundation] = (),
) -> Trained:
    """Train every phase of a method, from its newest checkpoint if there is one.

    Args:
        config: Settings; the seed decides initial weights, order and augmentation.
        method: The method.
        training_data: Regions in routing order with their prepared parts; validation chooses the epoch.
        foundation: With a head for every region; None if the method needs none.
        directory: Directory of the checkpoints, with one directory per phase.
        fabric: A launched Fabric.
        on_event: Receives progress.
        foundations: Directory of foundations and of their features.
        built: Modules of the first phase that were built already; see `build_first_phase`.
        further: Further teachers, with a head for every region.
    """
    waiting = dict(built or {})
    models: dict[str, RegionalModel] = {}
    teaching: dict[str, Teaching] = {}
    ends, parameters, macs = [], 0, list[Callable[[], int]]()
    regions = training_data.regions
    phases = method.phases(regions)
    asked = foundation is not None and method.uses_teacher
    pools = pools_of(training_data.train, training_data.unlabelled, regions)
    cached = {name: pool.cached for name, pool in pools.items()}
    cache_factory = feature_cache_factory(config, cached, foundations, asked=asked, on_event=on_event)
    before = predistil(config, training_data, foundation, directory, fabric, on_event)
    if before is not None:
        ends, parameters, macs = [before.end], before.parameters, [before.macs]
    phase_of = partial(Phase.of, cache_factory=cache_factory)
    for members in phases:
        name = config.method if len(phases) == 1 else f"{config.method}-{members.names[0]}"
        known = with_regions(foundation, members) if foundation is not None else None
        others = [with_regions(one, members) for one in further]
        for one in steps_of(method):
            # the adaptation trains on the foundation's images
            seen = training_data if one is method else training_data.for_teacher
            if one.uses_teacher and known is not None:  # which was adapted in the step before, if any
                seen = with_pseudo_labels(seen, known, config.unlabelled, on_event)
            teachers = [known, *others] if known is not None else []
            title = name if one is method else f"{name}-{one.name}"
            phase = phase_of(title, seen, config, directory, regions=members, taught=one.uses_teacher)
            backbone = before.backbone if before is not None and one is method else None
            module = _started(waiting.pop(one.name, None), one, config, members, teachers, backbone)
            parameters += count_parameters(module)
            macs.append(later_training_macs(module.live, tuple(phase.val[members.names[0]].images.shape[1:])))
            guides = teachers if one.uses_teacher else []
            scores = meet_teachers(module, guides, training_data, members, fabric.device, on_event)
            if isinstance(one, FitsInOneGo):
                ends.append(_fit(one, module.to(fabric.device), phase, on_event))
            else:
                ends.append(run_phase(module, phase, fabric, guides, on_event))
            for text in weaker_teachers(scores[0] if scores else {}, ends[-1], module.advice):
                on_event(Notice(text=text))
            teaching |= _teaching(module, scores)
            finished = module.finished()
            if one is not method and known is not None:
                known = replace(adapted(known), model=finished.eval())
        models[members.names[0]] = finished
    live = SeparateModels(models, regions) if method.separate else models[regions.names[0]]
    return Trained(live=live.eval(), ends=tuple(ends), parameters=parameters, phase_macs=macs, teaching=teaching)


def _started(
    first: BuiltModule | None,
    method: Method,
    config: Config,
    regions: RegionSet,
    teachers: Sequence[Foundation],
    backbone: nn.Module | None,
) -> TrainingModule:
    """Return the module of a phase at its start: built already or now, on a pre-distilled backbone if there is one."""
    set_random_state(config.seed, first.random_state if first else None)  # the same for every phase
    module = first.module if first else build_module(method, config, regions, teachers)
    if backbone is not None:
        start_from(module, backbone)
    return module


def _teaching(module: TrainingModule, scores: Sequence[Mapping[str, float]]) -> dict[str, Teaching]:
    """Return what each of several teachers was worth, by region; empty for one teacher or none."""
    shares = module.teaching_shares() if isinstance(module, SeveralTeachers) else {}
    return {name: Teaching(scores=[one[name] for one in scores], shares=row) for name, row in shares.items()}


def meet_teachers(
    module: TrainingModule,
    teachers: Sequence[Foundation],
    data: TrainingData,
    regions: RegionSet,
    device: torch.device,
    on_event: Listener,
) -> list[dict[str, float]]:
    """Announce terms with nothing to teach, and give a module the validation scores of its teachers, before training.

    Returns:
        The scores of each teacher by region, those of the foundation first.
    """
    for text in module.notices():
        on_event(Notice(text=text))
    scores = [
        teacher_scores(one, data if index == 0 else data.of_teacher(index - 1), regions, device)
        for index, one in enumerate(teachers)
    ]
    parts = {name: data.val[name] for name in (regions.names if scores else ())}
    chances = {name: get_task(val.region.task).chance(val.region, val.targets) for name, val in parts.items()}
    module.compare_with_teachers(scores, {name: value or 0.0 for name, value in chances.items()})
    if isinstance(module, SeveralTeachers):
        for name, shares in module.teaching_shares().items():
            on_event(Notice(text=f"region '{name}': {described([row[name] for row in scores], shares)}"))
    return scores


def described(scores: Sequence[float], shares: Sequence[float]) -> str:
    """Return the validation scores and shares of a region's teachers as a sentence; the foundation is teacher 1."""
    rows = zip(scores, shares, strict=True)
    return ", ".join(f"teacher {at} scores {score:.3f}, share {share:.2f}" for at, (score, share) in enumerate(rows, 1))


def teacher_scores(
    foundation: Foundation, data: TrainingData, regions: RegionSet, device: torch.device
) -> dict[str, float]:
    """Return the headline metric of a foundation on the validation part of each region."""
    seen = data.for_teacher.val
    model = foundation.model.to(device).eval()
    return {name: validation_score(model, seen[name], name, device) for name in regions.names}


def weaker_teachers(teacher: Mapping[str, float], end: Finished, advice: str) -> list[str]:
    """Return a sentence on each region whose teacher is weaker on validation than the student's best epoch."""
    if not teacher:
        return []
    row = end.history[end.best_epoch]
    metric, scores = row["metric"], row["val"][row["metric"]]
    assert isinstance(scores, dict)  # the mean is under another key
    return [
        f"region '{name}': the teacher is weaker than its student on validation ({metric.replace('_', ' ')} "
        f"{teacher[name]:.3f} against {scores[name]:.3f}){advice}"
        for name in scores
        if name in teacher and teacher[name] < scores[name]
    ]


def _fit(method: FitsInOneGo, module: TrainingModule, phase: Phase, on_event: Listener) -> Finished:
    """Fit directly; the log gets one row, like one epoch."""
    started = time.perf_counter()
    on_event(Notice(text=f"{phase.name}: fits {', '.join(phase.regions.names)} on frozen features"))
    method.fit(module.live, phase.train, phase.val)
    seconds = time.perf_counter() - started
    device = next(module.parameters()).device
    scores = {name: validation_score(module.live, phase.val[name], name, device) for name in phase.regions.names}
    mean = sum(scores.values()) / len(scores)
    metric = validation_name(phase.regions)
    row: EpochRow = {
        "phase": phase.name,
        "epoch": 0,
        "loss": {},
        "metric": metric,
        "val": {metric: scores, "mean": mean},
        "seconds": round(seconds, 3),
    }
    return Finished(phase=phase.name, best_epoch=0, best=mean, seconds=seconds, history=(row,))
