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
    flat = [value for pair in affine for value in pair]
    if not _dense(x):
        # else the kernel below adds to uninitialised memory (torch 2.13); outside of the function, whose second
        # derivative covers only its inputs
        x = x.contiguous()
    return cast(Tensor, cast(Any, _Segmented).apply(x, rows, tuple(statistics), eps, *flat))


class _Segmented(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, rows: Sizes, statistics: tuple[Statistics, ...], eps: float, *affine: Tensor | None
    ) -> Tensor:
        y = torch.empty_like(x)
        given = [*affine, *(one.mean for one in statistics)]
        mixed = any(value is not None and value.dtype != x.dtype for value in given)
        wide = torch.promote_types(x.dtype, torch.float32) if mixed else x.dtype
        saved = []
        parts = zip(
            torch.split(x, list(rows)), torch.split(y, list(rows)), statistics, affine[::2], affine[1::2], strict=True
        )
        for part, into, (mean, variance, momentum), weight, bias in parts:
            kept = [part.new_empty(x.shape[1], dtype=wide) for _ in range(2)]
            _forward.out(
                part,
                weight,
                bias,
                mean,
                variance,
                True,
                momentum,
                eps,
                out=into,
                save_mean=kept[0],
                save_invstd=kept[1],
            )
            saved += kept
        ctx.rows, ctx.eps = rows, eps
        ctx.save_for_backward(x, *saved, *affine)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, *rest = ctx.saved_tensors
        kept, affine = rest[: 2 * len(ctx.rows)], rest[2 * len(ctx.rows) :]
        wanted = [ctx.needs_input_grad[0], any(ctx.needs_input_grad[4::2]), any(ctx.needs_input_grad[5::2])]
        dx = torch.empty_like(x) if wanted[0] else None
        found: list[Tensor | None] = []
        start = 0
        for t, part in enumerate(torch.split(gradients[0], list(ctx.rows))):
            rows = slice(start, start + ctx.rows[t])
            mean, inverse = kept[2 * t : 2 * t + 2]
            values = _backward(part, x[rows], affine[2 * t], None, None, mean, inverse, True, ctx.eps, wanted)
            if dx is not None:
                dx[rows].copy_(values[0])
            found += [values[1] if wanted[1] else None, values[2] if wanted[2] else None]
            start = rows.stop
        return (dx, None, None, None, *found)


def _dense(x: Tensor) -> bool:
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim())
    return x.is_contiguous() or (last is not None and x.is_contiguous(memory_format=last))
