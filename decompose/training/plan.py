"""The plan of a training from shapes and counts alone: the result of `train --dry-run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch
from torch import nn

from lorkit.decompose.config import Config, ImageConfig, TrainConfig
from lorkit.decompose.data import Splits
from lorkit.decompose.data.unlabelled import UnlabelledCounts
from lorkit.decompose.experts.forecast import estimate_costs, mean_overhead
from lorkit.decompose.methods import Method, TrainingModule
from lorkit.decompose.methods.reprogramming.base import ReprogrammingModule
from lorkit.decompose.methods.several_teachers import build_module
from lorkit.decompose.methods.student import match_student_weights
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.cost import count_macs, count_parameters, training_macs
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.foundation.teacher import Teacher, TeacherBackbone
from lorkit.decompose.models.routed import RoutedModel
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.runs.live_model import deployed_backbone
from lorkit.decompose.tasks import dense_outputs
from lorkit.decompose.training.feature_cache import PlannedFeatures
from lorkit.decompose.training.first_phase import check_feature_cache, steps_of
from lorkit.decompose.training.foundation.pretraining import (
    check_finetuning,
    foundation_regions,
    foundation_settings,
    with_all_heads,
)
from lorkit.decompose.training.foundation.resolving import foundation_from_teacher, match_weights, new_foundation
from lorkit.decompose.training.gradient_check import GradientCheck, check_batches, check_gradient_paths, phase_sampler
from lorkit.decompose.training.loop.fine_tuning import check_fine_tuning
from lorkit.decompose.training.predistillation import PREDISTIL, predistillation_settings


class NetworkCost(TypedDict):
    """Parameters and multiply-accumulates; null for a teacher that torch does not run."""

    parameters: int | None
    macs: int | None


class PlannedStudent(NetworkCost):
    """A backbone, its cost, the file of its published weights, and how they fit; null without any."""

    backbone: str
    weights: str | None
    match: str | None


class PlannedFoundation(PlannedStudent):
    """The foundation and its pre-training or fine-tuning."""

    input: list[int]
    epochs: int
    steps: int


class PlannedRouter(TypedDict):
    """The router of a student with mixed adapters, and its share of the backbone's multiply-accumulates."""

    router: str
    reads: list[int]
    adapters: int
    gates: str
    layers: int
    macs: int
    share_of_backbone: float
    student_macs: int
    """Of the whole student with its mixed adapters."""


class PlannedPhase(TypedDict):
    """A phase of training: its regions, epochs, and steps per epoch; `name` is that of a pre-distillation."""

    name: NotRequired[str]
    regions: list[str]
    epochs: int
    steps: int


class TrainingPlan(TypedDict):
    """The plan of a training; `foundation` is null for a method without one, `origin` only with another artifact."""

    method: str
    nodes: bool
    """Whether the regions are graphs."""
    input: list[int]
    regions: dict[str, dict[str, int]]
    foundation: PlannedFoundation | None
    teachers: NotRequired[list[PlannedFoundation]]
    """Further teachers, if there are any."""
    student: PlannedStudent
    phases: list[PlannedPhase]
    training_parameters: int
    expert_layers: list[dict[str, Any]]
    expert_mac_overhead: float
    layers_without_experts: list[list[str]]
    epochs: int
    batch_size: int
    rehearsal: GradientCheck | None
    teacher_cache: PlannedFeatures | None
    routing: PlannedRouter | None
    origin: NotRequired[dict[str, str]]


def plan_training(
    config: Config,
    method: Method,
    regions: RegionSet,
    splits: Splits,
    foundations: Path = Path("foundations"),
    teacher: Teacher | None = None,
    *,
    unlabelled: Mapping[str, UnlabelledCounts] | None = None,
) -> TrainingPlan:
    """Describe a training: parts, steps, networks with their cost, layers with and without experts.

    Raises:
        UsageError: The teacher's features would be larger than `cache.budget`.
    """
    image = config.deployed_image
    sizes = {name: {part: len(rows) for part, rows in splits.parts(name).items()} for name in regions.names}
    counts = {name: parts["train"] for name, parts in sizes.items()}
    for name, found in (unlabelled or {}).items():
        sizes[name]["unlabelled"] = found["n"]
    phases = method.phases(regions)
    foundation = None if method.without_foundation else untrained_foundation(config, regions, teacher)
    if foundation is not None and config.foundation.finetune is not None:
        check_finetuning(foundation, config)  # while its weights are trainable
    further = _untrained_teachers(config, regions)
    teachers = [] if foundation is None else [(config, foundation), *further]
    module = build_module(method, config, phases[0], [one for _, one in teachers])
    check_fine_tuning(module, config.train)
    rehearsal = _rehearsal(method, teachers, module, phases, counts)
    routed = module.live if isinstance(module.live, RoutedModel) else None
    routing = module.live.routing if routed is None else routed.adapters[0]
    device = "cuda" if config.train.accelerator != "cpu" and torch.cuda.is_available() else "cpu"
    shape = (image.channels, *image.size)
    batch = config.train.batch_size
    known = (module.live.backbone, routing, shape)
    # mixed adapters are all computed for every row, in one way
    layers = estimate_costs(*known, batch=batch, device=device) if routing.wrapped and routed is None else []
    planned: TrainingPlan = {
        "method": config.method,
        "nodes": config.image.nodes,
        "input": [image.channels, *image.size],
        "regions": sizes,
        "foundation": None if foundation is None else _foundation(config, regions, counts, foundation, teacher),
        "student": _student(config, method, regions),
        "phases": _phases(config, method, regions, counts),
        "training_parameters": sum(value.numel() for value in module.parameters() if value.requires_grad),
        "expert_layers": [layer.to_json() for layer in layers],
        "expert_mac_overhead": mean_overhead(layers),
        "layers_without_experts": [list(pair) for pair in routing.skipped],
        "epochs": config.train.epochs,
        "batch_size": config.train.batch_size,
        "rehearsal": rehearsal,
        "routing": None if routed is None else _router(config, routed),
        "teacher_cache": None
        if foundation is None
        else check_feature_cache(config, method, module, foundation, counts, foundations),
    }
    if further:
        planned["teachers"] = [_foundation(stated, regions, counts, one) for stated, one in further]
    return planned


def _foundation(
    config: Config,
    regions: RegionSet,
    counts: Mapping[str, int],
    foundation: Foundation,
    teacher: Teacher | None = None,
) -> PlannedFoundation:
    tuned = config.foundation.finetune is not None
    pretraining = teacher is None and (config.foundation.weights is None or tuned)
    theirs = foundation_settings(config)
    return {
        "backbone": config.foundation.backbone,
        "input": [config.foundation_image.channels, *config.foundation_image.size],
        **_cost(foundation.model.backbone, config.foundation_image),
        "weights": config.foundation.weights,
        "match": None if teacher is not None else match_weights(config, regions),
        "epochs": theirs.epochs if pretraining else 0,
        "steps": _steps(theirs, foundation_regions(config, regions), counts) if pretraining else 0,
    }


def _student(config: Config, method: Method, regions: RegionSet) -> PlannedStudent:
    match = match_student_weights(config, method, regions)
    return {
        "backbone": deployed_backbone(config),
        **_student_cost(config, regions),
        "weights": None if match is None else config.student.weights,
        "match": match,
    }


def _router(config: Config, live: RoutedModel) -> PlannedRouter:
    image, router = (config.image.channels, *config.image.size), live.gating.router
    macs = count_macs(router, router.shape)
    plain = _student_cost(config, live.regions)["macs"]
    assert plain  # a student is no teacher that torch does not run
    return {
        "router": config.mola.router,
        "reads": list(router.shape),
        "adapters": live.gating.adapters,
        "gates": config.mola.gates,
        "layers": len(live.adapters[0].wrapped),
        "macs": macs,
        "share_of_backbone": macs / plain,
        "student_macs": training_macs(live, image),
    }


def _student_cost(config: Config, regions: RegionSet) -> NetworkCost:
    image, dense = config.deployed_image, dense_outputs(regions)
    name = deployed_backbone(config)
    return _cost(build_backbone(name, channels=image.channels, image_size=image.size, dense=dense), image)


def _cost(network: nn.Module, image: ImageConfig) -> NetworkCost:
    """Return parameters and multiply-accumulates; null for a teacher that torch does not run."""
    if isinstance(network, TeacherBackbone) and not network.has_modules:
        return {"parameters": None, "macs": None}
    macs = count_macs(network, (image.channels, *image.size))
    return {"parameters": count_parameters(network), "macs": macs}


def _phases(config: Config, method: Method, regions: RegionSet, counts: Mapping[str, int]) -> list[PlannedPhase]:
    """Return the phases in the order of their training, a pre-distillation of all regions first."""
    before, train = predistillation_settings(config), config.train
    found: list[PlannedPhase] = []
    if before is not None:
        steps = _steps(before, regions, counts)
        found.append({"name": PREDISTIL, "regions": list(regions.names), "epochs": before.epochs, "steps": steps})
    return found + [
        {"regions": list(phase.names), "epochs": train.epochs, "steps": _steps(train, phase, counts)}
        for phase in method.phases(regions)
        for _ in steps_of(method)
    ]


def _steps(settings: TrainConfig, regions: RegionSet, counts: Mapping[str, int]) -> int:
    """Return the steps per epoch of the training, from the sampler."""
    return phase_sampler(settings, regions, counts).steps


def _rehearsal(
    method: Method,
    teachers: Sequence[tuple[Config, Foundation]],
    module: TrainingModule,
    phases: Sequence[RegionSet],
    counts: Mapping[str, int],
) -> GradientCheck | None:
    """Check a reprogramming method with each teacher alone; return the check of the first, None for other methods."""
    checked = []
    for config, foundation in teachers:
        alone = module if len(teachers) == 1 else method.build(config, phases[0], foundation)
        if isinstance(alone, ReprogrammingModule):
            check_batches(config.train, alone, phases, counts)
            checked.append(check_gradient_paths(config, alone, foundation))
    return checked[0] if checked else None


def _untrained_teachers(config: Config, regions: RegionSet) -> list[tuple[Config, Foundation]]:
    """Return each further teacher with the settings in which it is the foundation."""
    found = []
    for index in range(len(config.teachers)):
        stated = config.of_teacher(index)
        foundation = untrained_foundation(stated, regions)
        if stated.foundation.finetune is not None:
            check_finetuning(foundation, stated)
        found.append((stated, foundation))
    return found


def untrained_foundation(config: Config, regions: RegionSet, teacher: Teacher | None = None) -> Foundation:
    """Return a foundation with the right shapes and a head for every region: a teacher's weights, else fresh ones."""
    if teacher is None:
        return new_foundation(config, regions)
    return with_all_heads(foundation_from_teacher(teacher, config, regions), regions)
