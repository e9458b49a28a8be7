"""Costs of experts by layer, from shapes alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lorkit.decompose.documents.training import ExpertLayer
from lorkit.decompose.experts.layers import LowRankExperts
from lorkit.decompose.experts.merging import expert_layers
from lorkit.decompose.experts.routing import Routing
from lorkit.decompose.experts.strategies.geometry import Sizes, Workload, base_macs


def estimate_costs(
    model: nn.Module, routing: Routing, image_shape: Sizes, *, batch: int, device: str = "cpu"
) -> list[ExpertLayer]:
    """Return the strategy and the costs of each layer for a balanced batch.

    Args:
        model: A network after `add_experts_`; nothing is computed or changed.
        routing: The result of `add_experts_`.
        image_shape: (C, *spatial) of one image.
        batch: Batch size; regions have equal parts of it, at least two.
        device: Type of the training device.
    """
    regions = min(len(routing.regions), max(1, batch // 2))
    equal = batch % regions == 0
    found = []
    for name, shape in layer_inputs(model, routing, image_shape).items():
        layer = expert_layers(model)[name]
        if not isinstance(layer, LowRankExperts):
            continue
        geometry = layer.selector.geometry
        whole = (shape[0] * batch, *shape[1:])
        strategy = layer.selector.strategy(whole, regions, equal, device, torch.get_num_threads())
        workload = Workload.of(geometry, whole, regions, equal=equal, device=device)
        factors = [parameter for part in (layer.down, layer.up) for parameter in part.values()]
        found.append(
            ExpertLayer(
                name=name,
                weight=list(layer.base.weight.shape),
                rank=geometry.rank,
                strategy=strategy.name,
                macs=base_macs(geometry, workload) // batch,
                overhead=strategy.macs(geometry, workload) / base_macs(geometry, workload),
                parameters=sum(parameter.numel() for parameter in factors),
            )
        )
    return found


def mean_overhead(layers: Sequence[ExpertLayer]) -> float:
    """Return the multiply-accumulates of experts as a fraction of those of their layers."""
    return sum(layer.macs * layer.overhead for layer in layers) / max(1, sum(layer.macs for layer in layers))


def layer_inputs(model: nn.Module, routing: Routing, image_shape: Sizes) -> dict[str, Sizes]:
    """Return the input shape of each expert layer for one image, from a run on torch's meta device."""
    network = on_meta(model)
    layers = expert_layers(network)
    shapes: dict[str, Sizes] = {}
    copied = next(iter(layers.values())).routing  # one for all layers, copied with the network
    copied.activate(routing.regions[0])

    def note(name: str, layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        shapes.setdefault(name, tuple(arguments[0].shape))

    for name, layer in layers.items():
        layer.register_forward_pre_hook(partial(note, name))
    with torch.no_grad(), copied.without_experts():  # their layers see the same shapes
        network(torch.empty(1, *image_shape, device="meta"))
    return shapes


def on_meta(model: nn.Module) -> nn.Module:
    """Return a copy of a network on torch's meta device, in eval mode: it has shapes and computes nothing."""
    memo: dict[int, Any] = {id(value): nn.Parameter(value.to("meta"), False) for value in model.parameters()}
    memo |= {id(value): value.to("meta") for value in model.buffers()}
    return copy.deepcopy(model, memo).eval()
