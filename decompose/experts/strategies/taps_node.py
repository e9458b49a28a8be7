"""`taps` as one autograd function: its products add to the outputs of the shared operation in place.

Shapes: L rows grouped by region, T regions, I and O channels, r rank, C = r x taps, P positions (rows x pixels).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from lorkit.decompose.experts import algebra
from lorkit.decompose.experts.small_maps import convolve, pull
from lorkit.decompose.experts.strategies import one_node
from lorkit.decompose.experts.strategies.base import LayerInputs, flat, strided
from lorkit.decompose.experts.strategies.geometry import LayerGeometry, Sizes
from lorkit.decompose.experts.strategies.segments import product, scaled_product

# sums or spreads the taps: (z, geometry, spatial sizes of the input)
Shift = Callable[[Tensor, LayerGeometry, Sizes], Tensor]


def taps_node(inputs: LayerInputs, x: Tensor, plain: one_node.Plain, shifts: tuple[Shift, Shift]) -> Tensor:
    """Compute base(x) + up(sum of shifted taps); `plain` computes the same for second derivatives.

    Args:
        inputs: The layer, a dense convolution whose weight and x have their channels last, or one channel order.
        x: (L, I, *S).
        plain: The same in plain operations.
        shifts: The sum of the taps at their positions, and its transpose.
    """
    base = inputs.base
    function = cast(Any, _Taps)
    return cast(Tensor, function.apply(x, base.weight, base.bias, *inputs.downs, *inputs.ups, inputs, plain, shifts))


class _Taps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> Tensor:
        *factors, inputs, plain, shifts = rest
        geometry = inputs.geometry
        _, ups, scale = one_node.joined(inputs)
        y = convolve(inputs.base, x, weight, bias)
        low_TPC = product(_blocks(inputs, x), _matrices(inputs).mT)
        if not geometry.pointwise:
            spatial = tuple(x.shape[2:])
            z = low_TPC.reshape(len(x), *spatial, -1, *geometry.kernel)
            low_TPC = shifts[0](z, geometry, spatial).view(len(inputs.rows), -1, ups.shape[2])
        ctx.inputs, ctx.plain, ctx.shifts = inputs, plain, shifts
        ctx.save_for_backward(low_TPC, x, weight, bias, *factors)
        return _add_product(inputs, y, low_TPC, ups.mT, scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        low_TPr, x, weight, bias, *factors = ctx.saved_tensors
        inputs, dy, needs = ctx.inputs, gradients[0], ctx.needs_input_grad
        if torch.is_grad_enabled():
            return (
                *one_node.second_order(ctx.plain, inputs, needs[:-3], (x, weight, bias, *factors), dy),
                None,
                None,
                None,
            )
        of_downs, of_ups = one_node.wanted(needs[3:-3], len(inputs.rows))
        geometry, base = inputs.geometry, cast(algebra.Conv, inputs.base)
        dx = dweight = dbias = ddowns = None
        if any(needs[:3]):
            dx, dweight, dbias = pull(base, dy, x, weight, needs[:3])
        dy_PO = flat(geometry, dy)
        dy_TPO = dy_PO.view(len(inputs.rows), -1, dy_PO.shape[1])
        _, ups, scale = one_node.joined(inputs)
        if needs[0] or of_downs:
            dz_TPC = product(dy_TPO, ups)
            if not geometry.pointwise:
                spatial = tuple(x.shape[2:])
                low = dz_TPC.reshape(len(x), *dy.shape[2:], -1)
                dz_TPC = ctx.shifts[1](low, geometry, spatial).view(len(inputs.rows), -1, low.shape[-1] * geometry.taps)
            if dx is not None:
                dx = _add_product(inputs, dx, dz_TPC, _matrices(inputs), scale, to_input=True)
            if of_downs:
                ddowns = scaled_product(dz_TPC.mT, _blocks(inputs, x), scale)
        dups = product(dy_TPO.mT, low_TPr) if of_ups else None
        return dx, dweight, dbias, *one_node.apart(inputs, ddowns, dups), None, None, None


def taps_in_one_node(inputs: LayerInputs, x: Tensor) -> bool:
    """Return whether `taps_node` can compute a layer."""
    return one_node.in_one_node(inputs, x) and (inputs.geometry.pointwise or one_node.channels_last(inputs))


def _matrices(inputs: LayerInputs) -> Tensor:
    """Return the first factors as (T, C, I)."""
    downs, _, _ = one_node.joined(inputs)
    return downs.reshape(len(downs), -1, inputs.geometry.inputs)


def _blocks(inputs: LayerInputs, x: Tensor) -> Tensor:
    geometry = inputs.geometry
    x_PI = flat(geometry, strided(geometry, x) if geometry.pointwise else x)
    return x_PI.view(len(inputs.rows), -1, x_PI.shape[1])


def _add_product(
    inputs: LayerInputs, y: Tensor, one: Tensor, other: Tensor, scale: float, *, to_input: bool = False
) -> Tensor:
    """Add a product of each region to a map of its rows, in place where its channels are last in memory."""
    geometry = inputs.geometry
    target = strided(geometry, y) if to_input and geometry.pointwise else y
    flat_PC = flat(geometry, target)
    if flat_PC.data_ptr() == y.data_ptr() and flat_PC.numel() == y.numel():
        flat_PC.view(len(one), -1, flat_PC.shape[1]).baddbmm_(one, other, alpha=scale)
        return y
    update = torch.bmm(one, other).flatten(0, 1).view(len(y), *target.shape[2:], -1).movedim(-1, 1)
    target.add_(update, alpha=scale)
    return y
