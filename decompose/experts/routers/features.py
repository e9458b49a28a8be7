"""The default router: the backbone's own early features, pooled to a small grid.

The layers up to the tap have no adapters, so they run once for all and the router costs little beside the backbone. The
grid keeps where in the image something is, which distinguishes anatomy better than a mean over the image.
"""

from __future__ import annotations

from math import prod
from typing import ClassVar, cast

from torch import Tensor, nn

from lorkit.decompose.experts.routers.base import WIDTH, Router, convolution, shrink

_SIDE, _CHANNELS, _GROUPS = 4, 32, 8


class FeatureRouter(Router):
    """Grid (C, *grid) of the first stage -> pooled to at most 4 positions a side -> 32 channels -> 64 hidden numbers.

    Args:
        shape: (C, *grid).
    """

    taps: ClassVar[bool] = True

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape)
        channels, *grid = shape
        self.pool, sides = shrink(tuple(grid), _SIDE)
        self.reduce = convolution(len(grid), channels, _CHANNELS, 1)
        self.norm = nn.GroupNorm(_GROUPS, _CHANNELS)
        self.hidden = nn.Linear(_CHANNELS * prod(sides), WIDTH)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, *grid) to (N, 64)."""
        low = self.relu(self.norm(self.reduce(self.pool(x))))
        return cast(Tensor, self.relu(self.hidden(low.flatten(1))))
