"""What autograd functions of a whole expert layer share: one node per layer instead of dozens.

Such a function covers dense convolutions of layout `conv` whose factors have one rank. A second derivative is that of
the strategy's plain operations.

Shapes: L rows grouped by region, T regions, I and O channels, r rank, K = taps x I, P positions (rows x pixels).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from lorkit.decompose.experts import algebra
from lorkit.decompose.experts.strategies.base import LayerInputs
from lorkit.decompose.experts.strategies.packed_factors import Pack

Plain = Callable[[LayerInputs, Tensor], Tensor]


class Factors(NamedTuple):
    """Factors of all regions without derivatives, and the scale that they share.

    Attributes:
        downs: (T, r, K), in the memory order of the weight.
        ups: (T, O, r), unscaled.
        scale: Scale of all regions.
    """

    downs: Tensor
    ups: Tensor
    scale: float


def in_one_node(inputs: LayerInputs, x: Tensor) -> bool:
    """Return whether a function of this kind can compute a layer: else the plain operations do."""
    geometry, base = inputs.geometry, inputs.base
    if geometry.kind != "conv" or geometry.layout != "conv" or not geometry.zeros or isinstance(base.padding, str):
        return False
    if algebra.transformed() or torch.compiler.is_compiling() or algebra.hooked(base) or not inputs.equal:
        return False
    device = x.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return False
    if len({len(down) for down in inputs.downs}) > 1 or len(set(inputs.scales)) > 1:
        return False
    return all(one.dtype == x.dtype for one in (base.weight, *inputs.downs, *inputs.ups))


def joined(inputs: LayerInputs) -> Factors:
    """Return the factors of all regions; call it without gradients."""
    last = channels_last(inputs)
    downs = _values(inputs.downs, inputs.packed_downs)
    downs = (downs.movedim(2, -1) if last else downs).flatten(2)
    return Factors(downs, _values(inputs.ups, inputs.packed_ups), inputs.scales[0])


def channels_last(inputs: LayerInputs) -> bool:
    """Return whether the weight has its channels last in memory."""
    return not inputs.base.weight.is_contiguous()


def apart(inputs: LayerInputs, downs: Tensor | None, ups: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return the gradients of each region's factors, as slices of contiguous tensors.

    Args:
        inputs: The layer.
        downs: (T, r, K) gradient, contiguous.
        ups: (T, O, r) gradient, without the scale.
    """
    found: list[Tensor | None] = []
    if downs is None:
        found += [None] * len(inputs.downs)
    else:
        shape, last = inputs.downs[0].shape, channels_last(inputs)
        size = (shape[0], *shape[2:], shape[1]) if last else tuple(shape)
        downs = downs.view(-1, *size)  # also (T, r x taps, I)
        found += (downs.movedim(-1, 2) if last else downs).unbind()
    if ups is None:
        return *found, *(None for _ in inputs.ups)
    into = torch.empty(ups.shape, dtype=ups.dtype, device=ups.device)  # in the order of the parameters
    return *found, *torch.mul(ups, inputs.scales[0], out=into).unbind()


def wanted(needs: Sequence[bool], regions: int) -> tuple[bool, bool]:
    """Return whether any first and any second factor needs a gradient; `needs` are those of all factors."""
    return any(needs[:regions]), any(needs[regions:])


def second_order(
    plain: Plain, inputs: LayerInputs, needs: Sequence[bool], sources: Sequence[Tensor | None], gradient: Tensor
) -> tuple[Tensor | None, ...]:
    """Return the gradients of `sources` by plain operations, which have derivatives themselves.

    Args:
        plain: Computes the layer.
        inputs: The layer.
        needs: Which sources need a gradient.
        sources: x, weight, bias, then the factors, as the forward pass got them.
        gradient: That of the output.
    """
    x, weight, bias, *factors = sources
    base = copy.copy(inputs.base)  # the module may hold other tensors by now (torch.func.functional_call)
    base._parameters = {"weight": cast(nn.Parameter, weight), "bias": cast(nn.Parameter, bias)}
    regions = len(inputs.rows)
    downs, ups = cast(list[Tensor], factors[:regions]), cast(list[Tensor], factors[regions:])
    with torch.enable_grad():
        y = plain(replace(inputs, base=base, downs=downs, ups=ups), cast(Tensor, x))
        asked = [source for source, need in zip(sources, needs, strict=True) if need and source is not None]
        found = iter(torch.autograd.grad(y, asked, gradient, create_graph=True))
    return tuple(next(found) if need else None for need in needs)


def _values(factors: Sequence[Tensor], pack: Pack | None) -> Tensor:
    return pack.buffer if pack is not None and pack.holds(factors) else torch.stack(list(factors))
