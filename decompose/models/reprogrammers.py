"""What maps a frozen foundation's features into a student's feature space, pooled or on a grid, in 2D and 3D.

Shapes: N samples, wide and narrow channels of foundation and student.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn

_CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}


class PooledReprogrammer(nn.Sequential):
    """Three layers that map the foundation's pooled features (N, wide) into the student's feature space (N, narrow).

    The norms make it indifferent to the length of the foundation's features, which differs between foundations by
    orders of magnitude. The last activation gives the range of the student's pooled features where these are means of
    rectified maps, and so never negative; a transformer's may have any sign, and there is none.

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

    Group norms, so that nothing depends on the batch and the length of the foundation's features does not matter.

    Args:
        wide: Channels of the foundation.
        narrow: Channels of the student.
        grid: Places of the student, along each of 2 or 3 axes.
        hidden: Channels in between; None for `narrow`.
    """

    def __init__(self, wide: int, narrow: int, grid: tuple[int, ...], hidden: int | None = None) -> None:
        super().__init__()
        self.grid = grid
        hidden, convolution = hidden or narrow, _CONVOLUTIONS[len(grid)]
        # without weights: the next layer has them, and torch (2.13, CPU) crashes in the backward pass of the weights of
        # channels-last inputs that need no gradient, as a frozen network's are
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
    """Return features (N, C, *places) on another grid: interpolated where any axis gets finer, else averaged."""
    have = tuple(x.shape[2:])
    if have == grid:
        return x
    if any(ours < wanted for ours, wanted in zip(have, grid, strict=True)):
        return F.interpolate(x, grid, mode="bilinear" if len(grid) == 2 else "trilinear")
    pool: Callable[[Tensor, tuple[int, ...]], Tensor] = _POOLS[len(grid)]
    return pool(x, grid)
