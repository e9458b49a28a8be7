"""Multiply rows grouped by region with one matrix per region, as linear layers do.

Shapes: P positions of the batch (rows x pixels), grouped by region; T regions; K input channels, M output channels.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from lorkit.decompose.experts.algebra import transformed
from lorkit.decompose.experts.strategies.geometry import Sizes

_FEW = 16  # columns


def multiply(x_PK: Tensor, weight_TMK: Tensor, counts: Sizes, equal: bool) -> Tensor:
    """Return (P, M): each region's positions times its weight; one batched product if regions are equal.

    Args:
        x_PK: Positions by channels, grouped by region.
        weight_TMK: One weight per region, as in `torch.nn.Linear`.
        counts: Positions of each region, which sum to P.
        equal: Whether they are all equal.
    """
    if equal:
        x_PK, weight_TMK = _cast(x_PK, weight_TMK)
        blocks = x_PK.view(len(counts), -1, x_PK.shape[1])
        if transformed():
            return torch.bmm(blocks, weight_TMK.mT).flatten(0, 1)
        return cast(Tensor, cast(Any, _Product).apply(blocks, weight_TMK)).flatten(0, 1)
    parts = zip(torch.split(x_PK, list(counts)), weight_TMK.unbind(), strict=True)
    return torch.cat([part @ weight.mT for part, weight in parts])


def add_product(y_PM: Tensor, x_PK: Tensor, weight_TMK: Tensor, counts: Sizes, equal: bool) -> Tensor:
    """Return y + `multiply(x, weight, counts)`, in one pass over y if regions are equal."""
    if not equal:
        return y_PM + multiply(x_PK, weight_TMK, counts, equal)
    y_PM, x_PK, weight_TMK = _cast(y_PM, x_PK, weight_TMK)
    y_TPM, x_TPK = (one.view(len(counts), -1, one.shape[1]) for one in (y_PM, x_PK))
    if transformed():
        return torch.baddbmm(y_TPM, x_TPK, weight_TMK.mT).flatten(0, 1)
    return cast(Tensor, cast(Any, _Sum).apply(y_TPM, x_TPK, weight_TMK)).flatten(0, 1)


class _Product(torch.autograd.Function):
    """x W^T of every region, with the weight's gradient as dy^T x.

    Autograd's formula is (x^T dy)^T: slow for regions with few positions, and copied to the memory order of each
    factor.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight.mT)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return _pull(ctx.saved_tensors, gradients[0], ctx.needs_input_grad)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.baddbmm(y, x, weight.mT)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return gradients[0], *_pull(ctx.saved_tensors, gradients[0], ctx.needs_input_grad[1:])


def _pull(
    saved: tuple[Tensor, Tensor], gradient: Tensor, wanted: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None]:
    x, weight = saved
    return product(gradient, weight) if wanted[0] else None, product(gradient.mT, x) if wanted[1] else None


def product(one: Tensor, other: Tensor) -> Tensor:
    """Return the batched product; one with few columns as the transpose of one with few rows.

    Products with 8 columns run at 6 GMAC/s in MKL on an AMD EPYC, those with 8 rows at 28.
    """
    if other.shape[-1] <= _FEW < one.shape[-2]:
        return torch.bmm(other.mT, one.mT).mT
    return torch.bmm(one, other)


def scaled_product(one: Tensor, other: Tensor, scale: float) -> Tensor:
    """Return the batched product times a number, without another pass over the result; without derivatives."""
    into = one.new_empty((len(one), one.shape[1], other.shape[2]))
    return torch.baddbmm(into, one, other, beta=0, alpha=scale, out=into)


def _cast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Convert tensors to autocast's type if it is on, so that forward and backward use the same one."""
    device = tensors[0].device.type
    if any(tensor.dtype == torch.float64 for tensor in tensors):  # autocast does not change it
        return tensors
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return tensors
    return tuple(tensor.to(torch.get_autocast_dtype(device)) for tensor in tensors)
