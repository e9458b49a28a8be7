"""Gather the rows of all ranks into one tensor, with gradients.

Shapes: R ranks, N rows of a rank, any further axes.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from lorkit.decompose.errors import DataError

AXES = 8
"""Maximum number of axes of a tensor that ranks can exchange."""


def gather_rows(rows: Tensor) -> Tensor:
    """Return the rows of all ranks of the default process group, in the order of ranks: (N, ...) -> (sum of N, ...).

    Every rank must call it, with any number of rows. The gradient of a rank's rows is the sum over ranks of their
    gradients for these rows. Averaged over ranks, as in DDP, a loss that every rank computes from all rows has the
    gradients of one process. Without a process group the rows are returned.

    Raises:
        DataError: On every rank, if axes after the first differ.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows
    shapes = _shapes(rows)
    if len({shape[1:] for shape in shapes}) > 1:
        given = ", ".join(str(shape) for shape in shapes)
        raise DataError(f"features of shapes {given} on ranks 0 to {len(shapes) - 1}", required="one width everywhere")
    return cast(Tensor, cast(Any, _Gather).apply(rows, [shape[0] for shape in shapes]))


def _shapes(rows: Tensor) -> list[tuple[int, ...]]:
    """Return the shape on every rank, with one small message."""
    mine = torch.full((AXES,), -1, dtype=torch.int64)
    mine[: rows.dim()] = torch.tensor(rows.shape)
    mine = mine.to(rows.device)
    theirs = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(theirs, mine)
    return [tuple(size for size in shape if size >= 0) for shape in torch.stack(theirs).tolist()]


class _Gather(torch.autograd.Function):
    """All-gather with its adjoint as backward; torch's own is deprecated and needs batches of one size."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.start, ctx.length = sum(counts[: dist.get_rank()]), len(rows)
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.narrow(0, ctx.start, ctx.length), None
