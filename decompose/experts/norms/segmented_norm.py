"""Batch normalisation of rows grouped by region, with statistics for each group, without splitting the batch.

Each group is normalised into its slice of one output, and its gradient copied while in cache, which saves a pass over
memory in each direction for large maps. Results equal those of torch's batch norm.

Shapes: L rows grouped by region, T regions, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from lorkit.decompose.experts.strategies.geometry import Sizes

_forward = torch.ops.aten.native_batch_norm
_backward = torch.ops.aten.native_batch_norm_backward


class Statistics(NamedTuple):
    """Running mean and variance of one region (None: not tracked), and the weight of a batch in them."""

    mean: Tensor | None
    variance: Tensor | None
    momentum: float


def segmented_norm(
    x: Tensor,
    rows: Sizes,
    statistics: Sequence[Statistics],
    affine: Sequence[tuple[Tensor | None, Tensor | None]],
    eps: float,
) -> Tensor:
    """Normalise the rows of each region of `x` (L, C, *S) by their own statistics, and update the running ones.

    Twice differentiable; not under `torch.func` or forward-mode derivatives.

    Args:
        x: Rows grouped by region.
        rows: Rows of each region.
        statistics: Of each region.
        affine: Weight and bias (C,) of each region.
        eps: Added to variances.
    """
    if not _dense(x):
        # else the kernel below adds to uninitialised memory (torch 2.13); outside of the function, whose second
        # derivative covers only its inputs
        x = x.contiguous()
    weights, biases = zip(*affine, strict=True)
    return cast(Tensor, cast(Any, _Segmented).apply(x, rows, tuple(statistics), eps, *weights, *biases))


class _Segmented(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, rows: Sizes, statistics: tuple[Statistics, ...], eps: float, *affine: Tensor | None
    ) -> Tensor:
        y, regions = torch.empty_like(x), len(rows)
        weights, biases = affine[:regions], affine[regions:]
        given = [*affine, *(one.mean for one in statistics)]
        mixed = any(value is not None and value.dtype != x.dtype for value in given)
        wide = torch.promote_types(x.dtype, torch.float32) if mixed else x.dtype
        kept_2TC = x.new_empty((2, regions, x.shape[1]), dtype=wide)
        means, inverses = (one.unbind() for one in kept_2TC.unbind())
        parts = zip(torch.split(x, list(rows)), torch.split(y, list(rows)), statistics, strict=True)
        for t, (part, into, (mean, variance, momentum)) in enumerate(parts):
            _forward.out(
                part,
                weights[t],
                biases[t],
                mean,
                variance,
                True,
                momentum,
                eps,
                out=into,
                save_mean=means[t],
                save_invstd=inverses[t],
            )
        ctx.rows, ctx.eps = rows, eps
        ctx.save_for_backward(x, kept_2TC, *weights)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, kept_2TC, *weights = ctx.saved_tensors
        rows, regions = list(ctx.rows), len(ctx.rows)
        means, inverses = (one.unbind() for one in kept_2TC.unbind())
        needs = ctx.needs_input_grad
        wanted = [needs[0], any(needs[4 : 4 + regions]), any(needs[4 + regions :])]
        dx = torch.empty_like(x) if wanted[0] else None
        start = 0
        found: tuple[list[Tensor], list[Tensor]] = ([], [])
        for t, (part, read) in enumerate(zip(torch.split(gradients[0], rows), torch.split(x, rows), strict=True)):
            values = _backward(part, read, weights[t], None, None, means[t], inverses[t], True, ctx.eps, wanted)
            if dx is not None:
                dx[start : start + rows[t]].copy_(values[0])
                start += rows[t]
            for column, value in zip(found, values[1:], strict=True):
                column.append(value)
        nothing = (None,) * regions
        # slices of one tensor, as the parameters of packed norms are
        dweights, dbiases = (
            torch.stack(column).unbind() if want else nothing for column, want in zip(found, wanted[1:], strict=True)
        )
        return (dx, None, None, None, *dweights, *dbiases)


def _dense(x: Tensor) -> bool:
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim())
    return x.is_contiguous() or (last is not None and x.is_contiguous(memory_format=last))
