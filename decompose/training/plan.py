"""The plan of a training from shapes and counts alone: the result of `train --dry-run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from lorkit.decompose.config import Config, ImageConfig, TrainConfig
from lorkit.decompose.data import RegionSamples, Splits
from lorkit.decompose.documents.base import combine
from lorkit.decompose.documents.data import UnlabelledFacts
from lorkit.decompose.documents.training import (
    FeatureCachePlan,
    FoundationPlan,
    NetworkCost,
    PhasePlan,
    Plan,
    Rehearsal,
    RoutingPlan,
    StudentPlan,
)
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
from lorkit.decompose.training.first_phase import check_feature_cache, steps_of
from lorkit.decompose.training.foundation.pretraining import (
    check_finetuning,
    foundation_regions,
    foundation_settings,
    with_all_heads,
)
from lorkit.decompose.training.foundation.resolving import foundation_from_teacher, match_weights, new_foundation
from lorkit.decompose.training.gradient_check import check_batches, check_gradient_paths, phase_sampler
from lorkit.decompose.training.loop.fine_tuning import check_fine_tuning
from lorkit.decompose.training.predistillation import PREDISTIL, predistillation_settings
from lorkit.decompose.training.training_data import check_images


def plan_training(
    config: Config,
    method: Method,
    regions: RegionSet,
    splits: Splits,
    foundations: Path = Path("foundations"),
    teacher: Teacher | None = None,
    *,
    unlabelled: Mapping[str, UnlabelledFacts] | None = None,
    samples: Mapping[str, RegionSamples] | None = None,
) -> Plan:
    """Describe a training: parts, steps, networks with their cost, layers with and without experts.

    Raises:
        DataError: An image of `samples` cannot be used; some of each region are prepared.
        UsageError: The teacher's features would be larger than `cache.budget`.
    """
    check_images(config, samples or {}, splits)
    image = config.deployed_image
    sizes = {name: {part: len(rows) for part, rows in splits.parts(name).items()} for name in regions.names}
    counts = {name: parts["train"] for name, parts in sizes.items()}
    for name, found in (unlabelled or {}).items():
        sizes[name]["unlabelled"] = found.n
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
    cache: FeatureCachePlan | None = None
    if foundation is not None:
        cache = check_feature_cache(config, method, module, foundation, counts, foundations)
    planned = Plan(
        method=config.method,
        of_nodes=config.image.nodes,
        input_shape=[image.channels, *image.size],
        regions=sizes,
        foundation=None if foundation is None else _foundation(config, regions, counts, foundation, teacher),
        student=_student(config, method, regions),
        phases=_phases(config, method, regions, counts),
        training_parameters=sum(value.numel() for value in module.parameters() if value.requires_grad),
        expert_layers=layers,
        expert_mac_overhead=mean_overhead(layers),
        layers_without_experts=list(routing.skipped),
        epochs=config.train.epochs,
        batch_size=config.train.batch_size,
        rehearsal=rehearsal,
        routing=None if routed is None else _router(config, routed),
        teacher_cache=cache,
    )
    others = [_foundation(stated, regions, counts, one) for stated, one in further]
    return planned.with_changes(teachers=others) if others else planned


def _foundation(
    config: Config,
    regions: RegionSet,
    counts: Mapping[str, int],
    foundation: Foundation,
    teacher: Teacher | None = None,
) -> FoundationPlan:
    tuned = config.foundation.finetune is not None
    pretraining = teacher is None and (config.foundation.weights is None or tuned)
    theirs = foundation_settings(config)
    return combine(
        FoundationPlan,
        _cost(foundation.model.backbone, config.foundation_image),
        backbone=config.foundation.backbone,
        input_shape=[config.foundation_image.channels, *config.foundation_image.size],
        weights=config.foundation.weights,
        weights_match=None if teacher is not None else match_weights(config, regions),
        epochs=theirs.epochs if pretraining else 0,
        steps_per_epoch=_steps(theirs, foundation_regions(config, regions), counts) if pretraining else 0,
    )


def _student(config: Config, method: Method, regions: RegionSet) -> StudentPlan:
    match = match_student_weights(config, method, regions)
    return combine(
        StudentPlan,
        _student_cost(config, regions),
        backbone=deployed_backbone(config),
        weights=None if match is None else config.student.weights,
        weights_match=match,
    )


def _router(config: Config, live: RoutedModel) -> RoutingPlan:
    image, router = (config.image.channels, *config.image.size), live.gating.router
    macs = count_macs(router, router.shape)
    plain = _student_cost(config, live.regions).macs
    assert plain  # a student is no teacher that torch does not run
    return RoutingPlan(
        router=config.mola.router,
        reads=list(router.shape),
        adapters=live.gating.adapters,
        gates_per=config.mola.gates,
        layer_count=len(live.adapters[0].wrapped),
        macs=macs,
        share_of_backbone=macs / plain,
        student_macs=training_macs(live, image),
    )


def _student_cost(config: Config, regions: RegionSet) -> NetworkCost:
    image, dense = config.deployed_image, dense_outputs(regions)
    name = deployed_backbone(config)
    return _cost(build_backbone(name, channels=image.channels, image_size=image.size, dense=dense), image)


def _cost(network: nn.Module, image: ImageConfig) -> NetworkCost:
    """Return parameters and multiply-accumulates; null for a teacher that torch does not run."""
    if isinstance(network, TeacherBackbone) and not network.has_modules:
        return NetworkCost(parameters=None, macs=None)
    macs = count_macs(network, (image.channels, *image.size))
    return NetworkCost(parameters=count_parameters(network), macs=macs)


def _phases(config: Config, method: Method, regions: RegionSet, counts: Mapping[str, int]) -> list[PhasePlan]:
    """Return the phases in the order of their training, a pre-distillation of all regions first."""
    before, train = predistillation_settings(config), config.train
    found: list[PhasePlan] = []
    if before is not None:
        first = _phase(before, regions, counts)
        found.append(first.with_changes(name=PREDISTIL))
    return found + [_phase(train, phase, counts) for phase in method.phases(regions) for _ in steps_of(method)]


def repetition_notices(
    config: Config, method: Method, regions: RegionSet, splits: Splits, unlabelled: Mapping[str, RegionSamples]
) -> list[str]:
    """Return what the phases will say of batches that have more samples of a region than there are.

    Args:
        config: Resolved settings.
        method: The method.
        regions: In routing order.
        splits: Parts of each region.
        unlabelled: Its unlabelled samples, of the regions that have some.
    """
    counts, found = {name: len(splits.parts(name)["train"]) for name in regions.names}, []
    for phase in method.phases(regions):
        others = {name: len(unlabelled[name]) for name in phase.names if name in unlabelled}
        drawn = phase_sampler(config.train, phase, counts, unlabelled=others, share=config.unlabelled.share)
        found += drawn.notices()
    return list(dict.fromkeys(found))


def _phase(settings: TrainConfig, regions: RegionSet, counts: Mapping[str, int]) -> PhasePlan:
    steps = _steps(settings, regions, counts)
    return PhasePlan(region_names=list(regions.names), epochs=settings.epochs, steps_per_epoch=steps)


def _steps(settings: TrainConfig, regions: RegionSet, counts: Mapping[str, int]) -> int:
    """Return the steps per epoch of the training, from the sampler."""
    return phase_sampler(settings, regions, counts).steps


def _rehearsal(
    method: Method,
    teachers: Sequence[tuple[Config, Foundation]],
    module: TrainingModule,
    phases: Sequence[RegionSet],
    counts: Mapping[str, int],
) -> Rehearsal | None:
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
