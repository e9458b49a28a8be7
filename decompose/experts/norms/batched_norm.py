"""Batch norms of regions with equally many rows as a few operations on all of them, instead of a call for each.

For small maps the calls cost more than the arithmetic. Sums over positions are products with a row of ones, which also
divide by their number; torch's norm over an axis takes 8 to 40 times as long. Results equal those of torch's kernel.

Shapes: L rows grouped by region, R regions, P positions (rows x pixels) of each, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

# elements of a map that the operations go through at once, so that it stays in the cache
BLOCK = 2**19

Affine = Sequence[Tensor | None]


class Stacks(NamedTuple):
    """Tensors of all regions, (R, 1, C) each and without derivatives; None where a norm has none.

    Attributes:
        weights: Weights.
        biases: Biases.
        means: Running means, updated in place.
        variances: Running variances, updated in place.
    """

    weights: Tensor | None
    biases: Tensor | None
    means: Tensor | None
    variances: Tensor | None


def batched_norm(x: Tensor, regions: int, stacks: Stacks, affine: Affine, momentum: float, eps: float) -> Tensor:
    """Normalise the rows of each region of `x` (L, C, *S) by their own statistics, and update the running ones.

    Twice differentiable; not under `torch.func` or forward-mode derivatives.

    Args:
        x: Rows grouped by region, equally many of each and two values or more per channel; channels last in memory.
        regions: R.
        stacks: Values of the parameters, and running statistics.
        affine: The weights (C,) of the regions, then their biases, which get the gradients.
        momentum: Weight of the batch in the running statistics.
        eps: Added to variances.
    """
    return cast(Tensor, cast(Any, _Batched).apply(x, regions, stacks, momentum, eps, *affine))


def batched_is_faster(x: Tensor, regions: int) -> bool:
    """Return whether `batched_norm` can normalise `x`, and is faster than a call for each region.

    A block needs two regions or more, else there are no fewer calls. Where torch may round the factors of products,
    sums must not be products. Subclasses of Tensor, such as those that trace a network, are left to torch.
    """
    if type(x) is not Tensor or x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
        return False
    if not x.movedim(1, -1).is_contiguous() or torch.get_float32_matmul_precision() != "highest":
        return False
    return 2 * x.numel() <= BLOCK * regions


class _Batched(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, regions: int, stacks: Stacks, momentum: float, eps: float, *affine: Tensor | None
    ) -> Tensor:
        y = torch.empty_like(x)
        x_RPC = _grouped(x, regions)
        kept_3R1C = x.new_empty((3, regions, 1, x.shape[1]))
        variance_R1C = torch.empty_like(kept_3R1C[0])
        rows = zip(*_blocks(x_RPC, _grouped(y, regions), kept_3R1C, variance_R1C, *stacks[:2]), strict=True)
        for part, into, kept, variance, weight, bias in rows:
            mean, inverse, scale = kept.unbind()
            ones, count = _ones(part), part.shape[1]
            torch.baddbmm(mean, ones, part, beta=0, alpha=1 / count, out=mean)
            torch.sub(part, mean, out=into)
            torch.mul(into, into, out=into)
            torch.baddbmm(variance, ones, into, beta=0, alpha=1 / count, out=variance)
            torch.add(variance, _number(eps, x.dtype), out=inverse).rsqrt_()
            scale.copy_(inverse) if weight is None else torch.mul(inverse, weight, out=scale)
            shift = -mean * scale if bias is None else torch.addcmul(bias, mean, scale, value=-1)
            torch.addcmul(shift, part, scale, out=into)
        if stacks.means is not None and stacks.variances is not None:
            count = x_RPC.shape[1]
            stacks.means.lerp_(kept_3R1C[0], momentum)
            old = _number(1 - momentum, x.dtype)
            stacks.variances.mul_(old).add_(variance_R1C, alpha=momentum * count / (count - 1))
        ctx.eps = eps
        ctx.save_for_backward(x, kept_3R1C, *affine)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, kept_3R1C, *affine = ctx.saved_tensors
        needs, regions = ctx.needs_input_grad, len(affine) // 2
        if torch.is_grad_enabled():
            return _second_order(x, affine, ctx.eps, (needs[0], *needs[5:]), gradients[0])
        x_RPC, dx = _grouped(x, regions), torch.empty_like(x)
        dy_RPC = gradients[0].movedim(1, -1).contiguous().view(x_RPC.shape)
        found_2R1C = x.new_empty((2, regions, 1, x.shape[1]))
        rows = zip(*_blocks(x_RPC, dy_RPC, _grouped(dx, regions), kept_3R1C, found_2R1C), strict=True)
        for part, dpart, into, kept, found in rows:
            mean, inverse, scale = kept.unbind()
            dweight, dbias = found.unbind()
            ones = _ones(part)
            torch.bmm(ones, dpart, out=dbias)
            torch.mul(part, dpart, out=into)
            torch.bmm(ones, into, out=dweight)  # sum of x dy; below of dy and the normalised x
            dweight.addcmul_(mean, dbias, value=-1).mul_(inverse)
            # dx = scale (dy - dbias / P - (x - mean) inverse dweight / P)
            share = scale * _number(-1 / part.shape[1], x.dtype)
            slope = dweight * inverse
            shift = torch.addcmul(dbias, slope, mean, value=-1).mul_(share)
            torch.addcmul(shift, part, slope.mul_(share), out=into).addcmul_(dpart, scale)
        nothing = (None,) * regions
        # slices of one tensor, as the parameters of packed norms are
        dweights, dbiases = (
            one.view(regions, -1).unbind() if any(wanted) else nothing
            for one, wanted in zip(found_2R1C.unbind(), (needs[5 : 5 + regions], needs[5 + regions :]), strict=True)
        )
        return (dx, None, None, None, None, *dweights, *dbiases)


def _second_order(
    x: Tensor, affine: Affine, eps: float, needs: Sequence[bool], gradient: Tensor
) -> tuple[Tensor | None, ...]:
    """Return the gradients by plain operations, which have derivatives themselves."""
    affine = [None if value is None else value.view_as(value) for value in affine]  # one may serve all regions
    regions = len(affine) // 2
    x_RPC = x.movedim(1, -1).reshape(regions, -1, x.shape[1])
    deviation = x_RPC - x_RPC.mean(1, keepdim=True)
    y_RPC = deviation * (deviation.square().mean(1, keepdim=True) + eps).rsqrt()
    for values, combine in ((affine[:regions], torch.mul), (affine[regions:], torch.add)):
        given = [value for value in values if value is not None]
        if given:
            y_RPC = combine(y_RPC, torch.stack(given).unsqueeze(1))
    y = y_RPC.view(x.movedim(1, -1).shape).movedim(-1, 1)
    asked = [source for source, need in zip((x, *affine), needs, strict=True) if need and source is not None]
    found = iter(torch.autograd.grad(y, asked, gradient, create_graph=True))
    dx, *daffine = (next(found) if need else None for need in needs)
    return (dx, None, None, None, None, *daffine)


def _grouped(x: Tensor, regions: int) -> Tensor:
    """Return (R, P, C), a view."""
    return x.movedim(1, -1).view(regions, -1, x.shape[1])


def _ones(x_RPC: Tensor) -> Tensor:
    return _row(*x_RPC.shape[:2], x_RPC.dtype)


@lru_cache(maxsize=256)
def _row(regions: int, count: int, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        return torch.ones((1, 1, count), dtype=dtype, device="cpu").expand(regions, 1, count)


@lru_cache(maxsize=256)
def _number(value: float, dtype: torch.dtype) -> Tensor:
    """Return a number as a tensor of its type, which torch would make anew, by a cast, in each operation."""
    with torch.inference_mode(False):
        return torch.tensor(value, dtype=dtype, device="cpu")


def _blocks(x_RPC: Tensor, *others: Tensor | None) -> list[Sequence[Tensor | None]]:
    """Return each tensor in groups of regions whose maps stay in the cache; those of statistics are (k, R, 1, C)."""
    regions = len(x_RPC)
    step = max(1, BLOCK * regions // x_RPC.numel())
    if step >= regions:
        return [(one,) for one in (x_RPC, *others)]
    number = -(-regions // step)
    return [
        (None,) * number if one is None else one.split(step, one.dim() - 3)  # type: ignore[no-untyped-call]
        for one in (x_RPC, *others)
    ]
