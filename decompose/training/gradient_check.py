"""Try a reprogramming method on a few random images before training: shapes, costs, gradient paths.

Every gradient path of the method is checked by its own backward pass; a configuration with a broken one is refused.
Shapes alone are checked on torch's meta device, at no cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lorkit.decompose.config import Config, TrainConfig
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.data.batches.microbatches import fewest_samples, smallest_microbatch
from lorkit.decompose.data.batches.sampler import RegionSampler
from lorkit.decompose.documents.training import GradientPathCheck, Rehearsal, StageShapes
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods.base import Method, TrainingModule
from lorkit.decompose.methods.distillation.predistillation import check_predistillation
from lorkit.decompose.methods.losses.cka.products import MIN_SAMPLES
from lorkit.decompose.methods.losses.logit_adjustment import check_adjustment
from lorkit.decompose.methods.reprogramming.base import ReprogrammingModule
from lorkit.decompose.models.cost import count_parameters
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.foundation.teacher import freeze_
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.training.loop.optimizer import least_steps

Gradients = list[Tensor | None]


class GradientPath(NamedTuple):
    """One gradient path: its name, whether gradients flow, and whether they should."""

    name: str
    flows: bool
    wanted: bool


def check_batches(
    settings: TrainConfig, module: TrainingModule, phases: Sequence[RegionSet], counts: Mapping[str, int]
) -> None:
    """Refuse phases with batches too small for the alignment, before a foundation is pre-trained.

    `module` is that of one phase, as all have the same stages; `counts` are training samples by region.

    Raises:
        UsageError: A batch is too small.
    """
    for phase in phases:
        sampler = phase_sampler(settings, phase, counts)
        module.check_batches(smallest_microbatch(sampler.samples_per_batch, settings.accumulate))


def phase_sampler(
    settings: TrainConfig, regions: RegionSet, counts: Mapping[str, int], **unlabelled: Any
) -> RegionSampler:
    """Return the sampler of one rank in a phase of these regions, from the training samples of each.

    `unlabelled` are the `unlabelled` and `share` of `RegionSampler`, which change no number of steps.
    """
    own = {name: counts[name] for name in regions.names}
    world, batch = settings.devices * settings.num_nodes, settings.batch_size
    least = least_steps(settings)
    return RegionSampler(
        own, batch_size=batch, policy=settings.sampling, seed=0, least_steps=least, world_size=world, **unlabelled
    )


def resolve_for_data(config: Config, method: Method, regions: RegionSet, counts: Mapping[str, int]) -> Config:
    """Return the settings with choices of the method that depend on the numbers of training samples.

    Raises:
        UsageError: `train.logit_adjustment` has an effect on no region, or `student.predistil` on no student.
    """
    check_predistillation(config, method)
    check_adjustment(config.train, regions)
    phases = [phase_sampler(config.train, phase, counts).samples_per_batch for phase in method.phases(regions)]
    return method.resolve(config, regions, min(fewest_samples(one, config.train.accumulate) for one in phases))


def check_gradient_paths(config: Config, module: ReprogrammingModule, foundation: Foundation) -> Rehearsal:
    """Run a module on random images; return its stages, its costs and the checked gradient paths.

    The running statistics of `module` change.

    Raises:
        UsageError: A gradient does not flow where it should, or flows where it should not.
    """
    batch = _random_batch(config, module)
    foundation.model.eval().requires_grad_(True)  # to detect gradients that reach it
    with FlopCounterMode(display=False) as asking, torch.no_grad():
        teacher = module.query_teacher(foundation.model, batch)
    with FlopCounterMode(display=False) as alone, torch.no_grad():
        module.eval().live(batch.image, batch.region)
    module.train()
    with FlopCounterMode(display=False) as together:
        passes = module.run_passes(batch, teacher)
    paths = _paths(module, batch, passes, foundation)
    freeze_(foundation.model)
    broken = [path for path in paths if path.flows != path.wanted]
    if broken:
        verb = "no gradient" if broken[0].wanted else "a gradient"
        raise UsageError(
            f"{verb} on the path {broken[0].name}",
            required="gradients exactly where the method has them",
            fix="choose another backbone",
        )
    theirs = teacher.grids or (teacher.features,)
    rows = zip(theirs, passes.reprogrammed, passes.own, module.phis, strict=True)
    macs = [counter.get_total_flops() // 2 // len(batch.label) for counter in (asking, alone, together)]
    return Rehearsal(
        stages=[
            StageShapes(
                teacher_shape=list(t.shape[1:]),
                reprogrammed_shape=list(r.shape[1:]),
                student_shape=list(s.shape[1:]),
                parameters=count_parameters(phi),
            )
            for t, r, s, phi in rows
        ],
        trainable_parameters=sum(value.numel() for value in module.parameters() if value.requires_grad),
        frozen_parameters=count_parameters(foundation.model),
        student_macs=macs[1],
        teacher_macs=macs[0],
        extra_macs=macs[2] - macs[1],
        cka_view=module.cka.view,
        gradient_paths=[GradientPathCheck(path=path.name, flows=path.flows) for path in paths],
    )


def _paths(module: ReprogrammingModule, batch: Batch, passes: Any, foundation: Foundation) -> list[GradientPath]:
    """Check each stage's hybrid loss and alignment with separate backward passes."""
    (name,) = module.live.regions.names
    named = list(module.named_parameters())
    values = [value for _, value in named]
    head = {f"live.heads.{name}.{key}" for key, _ in module.live.heads[name].named_parameters()}
    detached = module.settings.cka.detach
    paths: list[GradientPath] = []
    aligned = module.aligned(passes)
    for stage, reached in enumerate(module.reached(batch)):
        at = f" {stage + 1}" if len(aligned) > 1 else ""
        phi = {id(value) for value in module.phis[stage].parameters()}
        before = {
            key for (key, _), value in zip(named, _of(reached.square().sum(), values), strict=True) if _any(value)
        }
        for term, loss in (("hybrid", module.loss(passes.hybrid[stage], batch).sum()), ("cka", aligned[stage])):
            found = {key: value for (key, value), grad in zip(named, _of(loss, values), strict=True) if _any(grad)}
            alone, hybrid = f"{term}{at} alone", term == "hybrid"
            paths += [
                GradientPath(
                    f"{alone} -> phi{at}", any(id(one) in phi for one in found.values()), hybrid or not detached
                ),
                GradientPath(f"{alone} -> student up to stage{at}", bool(before & set(found)), not hybrid),
                GradientPath(f"{alone} -> head", bool(head & set(found)), hybrid),
            ]
    module.zero_grad(set_to_none=True)
    torch.stack([*aligned, *(module.loss(one, batch).sum() for one in passes.hybrid)]).sum().backward()  # type: ignore[no-untyped-call]
    reached_teacher = any(value.grad is not None for value in foundation.model.parameters())
    module.zero_grad(set_to_none=True)
    return [*paths, GradientPath("any -> teacher", reached_teacher, False)]


def _of(loss: Tensor, values: Sequence[nn.Parameter]) -> Gradients:
    if not loss.requires_grad:
        return [None] * len(values)
    return list(torch.autograd.grad(loss, values, retain_graph=True, allow_unused=True))


def _any(grad: Tensor | None) -> bool:
    return grad is not None and bool(grad.any())


def _values(module: ReprogrammingModule, outputs: int) -> int:
    """Return how many values a target may have, from 0: of structures that may overlap one bit each."""
    return outputs if module.task.exclusive else 1 << outputs if module.task.dense else 2


def _random_batch(config: Config, module: ReprogrammingModule) -> Batch:
    """Return the fewest images for which every term is defined, the same in every check."""
    (region,) = module.live.regions
    count, image, theirs = max(MIN_SAMPLES[module.cka.estimator], 3), config.image, config.foundation_image
    generator = torch.Generator().manual_seed(config.seed)
    outputs = module.task.outputs(region)
    shape = (count, *image.size) if module.task.dense else (count,) if module.task.exclusive else (count, outputs)
    label = torch.arange(prod(shape)).reshape(shape) % _values(module, outputs)
    pictures = [torch.rand(count, one.channels, *one.size, generator=generator) for one in (image, theirs)]
    return Batch(
        image=pictures[0],
        label=label,
        region=torch.zeros(count, dtype=torch.int64),
        sample=torch.arange(count),
        teacher_image=pictures[1] if theirs != image else None,
    )
