"""`merged` as one autograd function: one node per layer, and as few temporary tensors as possible.

Shapes: L rows grouped by region, T regions, I and O channels, r rank, K = taps x I, P positions (rows x pixels).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from lorkit.decompose.experts import algebra
from lorkit.decompose.experts.small_maps import convolve, pull
from lorkit.decompose.experts.strategies import one_node
from lorkit.decompose.experts.strategies.base import LayerInputs, flat, strided, unflat
from lorkit.decompose.experts.strategies.segments import product, scaled_product


def merged_node(inputs: LayerInputs, x: Tensor, plain: one_node.Plain) -> Tensor:
    """Compute op(x_t, W0 + s_t delta_t) region by region; `plain` computes the same for second derivatives."""
    base = inputs.base
    return cast(Tensor, cast(Any, _Merged).apply(x, base.weight, base.bias, *inputs.downs, *inputs.ups, inputs, plain))


class _Merged(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> Tensor:
        *factors, inputs, plain = rest
        downs, ups, scale = one_node.joined(inputs)
        last = weight.movedim(1, -1) if one_node.channels_last(inputs) else weight
        wide = last.reshape(1, len(weight), -1).expand(len(downs), -1, -1)
        merged_TOK = torch.baddbmm(wide, ups, downs, alpha=scale)
        ctx.inputs, ctx.plain = inputs, plain
        ctx.save_for_backward(merged_TOK, x, weight, bias, *factors)
        if not inputs.geometry.pointwise:
            return _convolve(inputs, x, _weights(inputs, merged_TOK), bias)
        x_TPI = _blocks(inputs, x)
        if bias is None:
            y_PO = torch.bmm(x_TPI, merged_TOK.mT).flatten(0, 1)
        else:
            y_PO = torch.baddbmm(bias.view(1, 1, -1), x_TPI, merged_TOK.mT).flatten(0, 1)
        return unflat(inputs.geometry, y_PO, inputs.geometry.output(tuple(x.shape[2:])), x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        merged_TOK, x, weight, *others = ctx.saved_tensors
        inputs, dy, needs = ctx.inputs, gradients[0], ctx.needs_input_grad
        if torch.is_grad_enabled():
            return *one_node.second_order(ctx.plain, inputs, needs[:-2], (x, weight, *others), dy), None, None
        of_downs, of_ups = one_node.wanted(needs[3:-2], len(inputs.rows))
        of_weights = needs[1] or of_downs or of_ups
        pull = _pull_products if inputs.geometry.pointwise else _pull_convolutions
        dx, dmerged_TOK = pull(inputs, x, merged_TOK, dy, needs[0], of_weights)
        dweight = None
        if needs[1] and dmerged_TOK is not None:
            shape = weight.movedim(1, -1).shape if one_node.channels_last(inputs) else weight.shape
            dweight = dmerged_TOK.sum(0).view(shape)
            dweight = dweight.movedim(-1, 1) if one_node.channels_last(inputs) else dweight
        dbias = dy.sum((0, *range(2, dy.dim()))) if needs[2] else None
        if dmerged_TOK is None:
            return dx, dweight, dbias, *(None for _ in needs[3:])
        downs, ups, scale = one_node.joined(inputs)
        return (
            dx,
            dweight,
            dbias,
            *one_node.apart(
                inputs,
                scaled_product(ups.mT, dmerged_TOK, scale) if of_downs else None,
                product(dmerged_TOK, downs.mT) if of_ups else None,
            ),
            None,
            None,
        )


def _blocks(inputs: LayerInputs, x: Tensor) -> Tensor:
    x_PI = flat(inputs.geometry, strided(inputs.geometry, x))
    return x_PI.view(len(inputs.rows), -1, x_PI.shape[1])


def _weights(inputs: LayerInputs, merged_TOK: Tensor) -> Tensor:
    """Return (T, O, I, *k) in the memory order of the weight."""
    shape = inputs.base.weight.shape
    if not one_node.channels_last(inputs):
        return merged_TOK.view(-1, *shape)
    return merged_TOK.view(-1, shape[0], *shape[2:], shape[1]).movedim(-1, 2)


def _convolve(inputs: LayerInputs, x: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
    parts = zip(torch.split(x, list(inputs.rows)), weights.unbind(), strict=True)
    outputs = [convolve(inputs.base, part, weight, bias) for part, weight in parts]
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _pull_products(
    inputs: LayerInputs, x: Tensor, merged_TOK: Tensor, dy: Tensor, of_x: bool, of_weights: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of x and of the merged weights of a pointwise layer."""
    geometry = inputs.geometry
    dy_PO = flat(geometry, dy)
    dy_TPO = dy_PO.view(len(inputs.rows), -1, dy_PO.shape[1])
    dmerged = torch.bmm(dy_TPO.mT, _blocks(inputs, x)) if of_weights else None
    if not of_x:
        return None, dmerged
    reached = unflat(geometry, torch.bmm(dy_TPO, merged_TOK).flatten(0, 1), tuple(dy.shape[2:]), x)
    if all(step == 1 for step in geometry.stride):
        return reached, dmerged
    dx = torch.zeros_like(x)
    strided(geometry, dx).copy_(reached)
    return dx, dmerged


def _pull_convolutions(
    inputs: LayerInputs, x: Tensor, merged_TOK: Tensor, dy: Tensor, of_x: bool, of_weights: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of x and of the merged weights of a convolution."""
    base = cast(algebra.Conv, inputs.base)
    needs = (of_x, of_weights, False)
    rows = list(inputs.rows)
    parts = zip(torch.split(dy, rows), torch.split(x, rows), _weights(inputs, merged_TOK).unbind(), strict=True)
    found = [pull(base, gradient, part, weight, needs) for gradient, part, weight in parts]
    last = one_node.channels_last(inputs)
    return (
        torch.cat([of_part for of_part, _, _ in found if of_part is not None]) if of_x else None,
        torch.stack([(one.movedim(1, -1) if last else one).flatten(1) for _, one, _ in found if one is not None])
        if of_weights
        else None,
    )
