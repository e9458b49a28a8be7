"""Gradient conflict between regions on the shared backbone: cosines of their gradients, by layer and overall.

Shapes: T regions, P_l shared parameters of layer l.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations
from operator import itemgetter, methodcaller
from statistics import fmean

import torch
from torch import Tensor

from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods.base import TrainingModule
from lorkit.decompose.models.regional import RegionalOutput
from lorkit.decompose.tasks.losses import total
from lorkit.decompose.training.gradients.balancing import shared_parameters

Pair = tuple[str, str]
Answer = RegionalOutput | list[RegionalOutput] | None
QueryTeacher = Callable[[Batch], Answer]


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """Cosines in [-1, 1] between regions' gradients; negative if a step for one region harms the other.

    Attributes:
        overall: Over all shared parameters, by pair in routing order; None if a gradient is zero.
        layers: The same for each layer of the backbone with its own shared parameters.
    """

    overall: dict[Pair, float | None]
    layers: dict[str, dict[Pair, float | None]]

    @property
    def mean(self) -> float | None:
        """The mean over pairs; None if no pair has a cosine."""
        known = [value for value in self.overall.values() if value is not None]
        return fmean(known) if known else None


def gradient_conflict(
    module: TrainingModule, batches: Iterable[Batch], *, teacher: QueryTeacher | None = None
) -> Conflict:
    """Measure the cosine between the gradients of each two regions on the shared backbone.

    The network is in eval mode meanwhile, so that a region's gradient depends only on its own samples and running
    statistics do not change; parameters, their `.grad` and random generators are not changed. Regions run one after
    another, and only their gradients are stored, in float32.

    Args:
        module: Live network and losses of a method.
        batches: Some batches, on any device.
        teacher: Returns the foundation's outputs for a batch, if the losses need them.
    """
    kept = list(batches)
    names = module.live.regions.names
    layers = _layers(module)
    parameters = [value for values in layers.values() for value in values]
    gradients: dict[str, list[Tensor]] = {}
    training = module.training
    module.eval()
    try:
        with torch.compiler.set_stance("force_eager"):  # compiling per region costs more than it saves
            for index, name in enumerate(names):
                found = [part for part in (_only(batch, index) for batch in kept) if len(part.label)]
                if found:
                    gradients[name] = _gradient(module, found, parameters, teacher)
    finally:
        module.train(training)
    return _cosines(gradients, {layer: len(values) for layer, values in layers.items()})


def _layers(module: TrainingModule) -> dict[str, list[torch.nn.Parameter]]:
    """Return the shared parameters by the module that holds them, named as in the plain network."""
    shared = {id(value) for value in shared_parameters(module)}
    layers: dict[str, list[torch.nn.Parameter]] = {}
    for name, value in module.live.backbone.named_parameters():
        if id(value) in shared:
            layer = name.rpartition(".")[0].removesuffix(".base")
            layers.setdefault(layer, []).append(value)
    return layers


def _only(batch: Batch, region: int) -> Batch:
    chosen = batch.region == region
    return batch.mapped(itemgetter(chosen))


def _gradient(
    module: TrainingModule, parts: list[Batch], parameters: list[torch.nn.Parameter], teacher: QueryTeacher | None
) -> list[Tensor]:
    """Return the gradient of a region's mean loss over all its samples, one tensor per parameter."""
    device = parameters[0].device
    sums = [torch.zeros_like(value, dtype=torch.float32) for value in parameters]
    samples = sum(len(part.label) for part in parts)
    for part in parts:
        here = part.mapped(methodcaller("to", device))
        hers = _wide(None if teacher is None else teacher(here))
        with torch.autocast(device.type, enabled=False), module.live.scope(here.region):
            loss = total(module(here, hers)) * (len(here.label) / samples)
            found = torch.autograd.grad(loss, parameters, allow_unused=True)
        for value, gradient in zip(sums, found, strict=True):
            if gradient is not None:
                value.add_(gradient)
    return sums


def _wide(output: Answer) -> Answer:
    """Return the outputs of one or several teachers in float32, whatever the precision of training."""
    if output is None:
        return None
    if isinstance(output, list):
        return [one for one in map(_wide, output) if isinstance(one, RegionalOutput)]
    features, logits = ({name: values.float() for name, values in one.items()} for one in output[:2])
    return output._replace(features=features, logits=logits)


def _cosines(gradients: dict[str, list[Tensor]], lengths: dict[str, int]) -> Conflict:
    overall: dict[Pair, float | None] = {}
    layers: dict[str, dict[Pair, float | None]] = {layer: {} for layer in lengths}
    squares = {name: _products(values, values) for name, values in gradients.items()}
    for a, b in combinations(gradients, 2):
        products = _products(gradients[a], gradients[b])
        overall[a, b] = _cosine(products, squares[a], squares[b], slice(None))
        start = 0
        for layer, length in lengths.items():
            part = slice(start, start + length)
            layers[layer][a, b] = _cosine(products, squares[a], squares[b], part)
            start += length
    return Conflict(overall=overall, layers=layers)


def _products(left: list[Tensor], right: list[Tensor]) -> Tensor:
    """Return the inner product of each parameter's two gradients, float64 on the host."""
    values = [(x.double() * y).sum() for x, y in zip(left, right, strict=True)]
    return torch.stack(values).cpu()


def _cosine(product: Tensor, left: Tensor, right: Tensor, part: slice) -> float | None:
    length = float((left[part].sum() * right[part].sum()).sqrt())
    return max(-1.0, min(1.0, float(product[part].sum()) / length)) if length > 0 else None
