"""Costs of a network: parameters, and multiply-accumulates at batch 1, both deterministic."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lorkit.decompose.experts.forecast import on_meta
from lorkit.decompose.models.mixtures.networks import RegionIdNetwork
from lorkit.decompose.models.regional import RegionalModel


def count_parameters(module: nn.Module) -> int:
    """Return the number of parameters; shared ones count once."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_macs(module: nn.Module, image_shape: tuple[int, ...]) -> int:
    """Return the multiply-accumulates of convolutions, linear layers and attention for one image (C, *spatial).

    Shapes run on torch's meta device, so the count is independent of hardware. Element-wise operations, norms and
    pooling are not counted, as is usual.
    """
    region = [torch.zeros(1, dtype=torch.int64, device="meta")] if isinstance(module, RegionIdNetwork) else []
    return _count(on_meta(module), image_shape, *region)


def training_macs(model: RegionalModel, image_shape: tuple[int, ...]) -> int:
    """Return the multiply-accumulates of one image (C, *spatial) in training, the most of any region.

    Experts are not merged; the model is as a method built it.
    """
    network = on_meta(model)
    return max(_count(network, image_shape, name) for name in model.regions.names)


def later_training_macs(model: RegionalModel, image_shape: tuple[int, ...]) -> Callable[[], int]:
    """Return a function for the `training_macs` of a model as it is now, which costs a pass per region when called."""
    return partial(training_macs, cast(RegionalModel, on_meta(model)), image_shape)


def _count(network: nn.Module, image_shape: tuple[int, ...], *arguments: str | Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, *image_shape, device="meta"), *arguments)
    return int(counter.get_total_flops()) // 2  # two floating-point operations per multiply-accumulate
