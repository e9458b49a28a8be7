"""A cheap router on a downscaled image: three strided convolutions."""

from __future__ import annotations

import itertools
from typing import cast

from torch import Tensor, nn

from lorkit.decompose.experts.routers.base import WIDTH, Router, convolution, shrink

_SIDE, _GROUPS = 32, 4


class DownscaledRouter(Router):
    """Image (C, *spatial) -> pooled to at most 32 pixels a side -> 16, 32, 64 channels -> mean over positions.

    Args:
        shape: (C, *spatial).
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape)
        channels, *size = shape
        self.pool, _ = shrink(tuple(size), _SIDE)
        widths = (channels, WIDTH // 4, WIDTH // 2, WIDTH)
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(widths):
            layers += [convolution(len(size), inputs, outputs, 3, stride=2, padding=1, bias=False)]
            layers += [nn.GroupNorm(_GROUPS, outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, *spatial) to (N, 64)."""
        return cast(Tensor, self.layers(self.pool(x)).flatten(2).mean(2))
