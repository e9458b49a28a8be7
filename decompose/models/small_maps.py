"""Faster passes of a network on a CPU: small convolutions as matrix products, and channels last in memory.

Expert layers use the products of `experts.small_maps` by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from lorkit.decompose.experts import algebra
from lorkit.decompose.experts.layers import ExpertLayer
from lorkit.decompose.experts.small_maps import convolve, covers, pull
from lorkit.decompose.models.foundation.teacher import TeacherBackbone

_KINDS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@contextmanager
def with_products(network: nn.Module) -> Iterator[None]:
    """Let the plain convolutions of a network use products inside the context."""
    layers = list(dict.fromkeys(_plain(network)))  # one may be in several places
    for layer in layers:
        cast(Any, layer).forward = partial(_run, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # restores the method of the class


@contextmanager
def ready_for_batches(network: nn.Module) -> Iterator[None]:
    """Let a network for 2D images run large batches faster inside the context; on a CPU only.

    A user's own foundation stays as it is: with channels last in memory `view` may fail in it.
    """
    own = any(isinstance(module, TeacherBackbone) for module in network.modules())
    values = [] if own else list(network.parameters())
    moved = [one for one in values if one.dim() == 4] if all(one.device.type == "cpu" for one in values) else []
    if not moved or any(one.dim() == 5 for one in values):
        yield
        return
    before = [one.data for one in moved]
    for one in moved:
        one.data = one.data.contiguous(memory_format=torch.channels_last)
    try:
        with with_products(network):
            yield
    finally:
        for one, data in zip(moved, before, strict=True):
            one.data = data


def _plain(module: nn.Module) -> Iterator[algebra.Conv]:
    for child in module.children():
        if type(child) in _KINDS:
            layer = cast(algebra.Conv, child)
            if not algebra.hooked(layer) and max(layer.kernel_size) > 1:
                yield layer
        elif not isinstance(child, ExpertLayer):
            yield from _plain(child)


def _run(layer: algebra.Conv, x: Tensor) -> Tensor:
    device = x.device.type
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    if autocast or not covers(layer, x) or algebra.transformed() or torch.compiler.is_compiling():
        return algebra.apply(layer, x, layer.weight, layer.bias)
    return cast(Tensor, cast(Any, _Product).apply(x, layer.weight, layer.bias, layer))


class _Product(torch.autograd.Function):
    """A convolution as a product; its backward consists of operations that have derivatives themselves."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, layer: algebra.Conv) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(x, weight)
        return convolve(layer, x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        return *pull(ctx.layer, gradients[0], x, weight, ctx.needs_input_grad[:3]), None
