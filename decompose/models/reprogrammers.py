"""Reprogrammers: map a frozen foundation's features to a student's feature space, pooled or on a grid, in 2D and 3D.

Shapes: N samples, wide and narrow channels of foundation and student.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn

_CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}


class PooledReprogrammer(nn.Sequential):
    """Three layers from the foundation's pooled features (N, wide) to the student's feature space (N, narrow).

    The norms remove the length of the foundation's features, which differs between foundations by orders of magnitude.
    The last activation makes outputs non-negative if the student's pooled features are means of rectified maps;
    otherwise (transformers) there is none.

    Args:
        wide: Features of the foundation.
        narrow: Features of the student.
        hidden: Width in between.
        rectified: Whether the student's features are never negative.
    """

    def __init__(self, wide: int, narrow: int, hidden: int, *, rectified: bool) -> None:
        super().__init__(
            nn.LayerNorm(wide),
            nn.Linear(wide, hidden),
            nn.LayerNorm(hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.LayerNorm(hidden),
            nn.GELU(),
            nn.Linear(hidden, narrow),
            nn.ReLU() if rectified else nn.Identity(),
        )


class GridReprogrammer(nn.Module):
    """Three convolutions (1, 3, 1) from a grid of the foundation to the channels and the grid of the student.

    Group norms make it independent of the batch and of the length of the foundation's features.

    Args:
        wide: Channels of the foundation.
        narrow: Channels of the student.
        grid: Positions of the student, along each of 2 or 3 axes.
        hidden: Channels in between; None for `narrow`.
    """

    def __init__(self, wide: int, narrow: int, grid: tuple[int, ...], hidden: int | None = None) -> None:
        super().__init__()
        self.grid = grid
        hidden, convolution = hidden or narrow, _CONVOLUTIONS[len(grid)]
        # without affine weights: the next layer has weights, and torch (2.13, CPU) crashes in their backward pass for
        # channels-last inputs without gradient, such as a frozen network's
        even = nn.GroupNorm(1, wide, affine=False)
        reduce, mix = convolution(wide, hidden, 1), convolution(hidden, hidden, 3, padding=1)
        self.enter = nn.Sequential(even, reduce, nn.GroupNorm(1, hidden), nn.GELU())
        self.mix = nn.Sequential(mix, nn.GroupNorm(1, hidden), nn.GELU())
        self.leave = convolution(hidden, narrow, 1)

    def forward(self, t: Tensor) -> Tensor:
        """Map (N, wide, *their grid) to (N, narrow, *grid)."""
        x = resampled(self.enter(t), self.grid)
        return cast(Tensor, self.leave(self.mix(x)))


_POOLS: dict[int, Any] = {2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


def resampled(x: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Return features (N, C, *positions) on another grid: interpolated if any axis gets finer, else averaged."""
    have = tuple(x.shape[2:])
    if have == grid:
        return x
    if any(ours < wanted for ours, wanted in zip(have, grid, strict=True)):
        return F.interpolate(x, grid, mode="bilinear" if len(grid) == 2 else "trilinear")
    pool: Callable[[Tensor, tuple[int, ...]], Tensor] = _POOLS[len(grid)]
    return pool(x, grid)
