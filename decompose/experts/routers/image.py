"""The paper's router: a ResNet-20 for small images, on the whole image.

Three stages of three basic blocks with 16, 32 and 64 channels and shortcuts without parameters (He et al. 2016, section
4.2, option A). It has no strided stem: at 224 x 224 it costs 2 billion multiply-accumulates.
"""

from __future__ import annotations

import itertools
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lorkit.decompose.experts.routers.base import WIDTH, Router, convolution

_BLOCKS = 3
_NORMS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class ImageRouter(Router):
    """Image (C, *spatial) -> 64 hidden numbers, without downscaling.

    Args:
        shape: (C, *spatial).
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape)
        dims, narrow = len(shape) - 1, WIDTH // 4
        self.conv = convolution(dims, shape[0], narrow, 3, padding=1, bias=False)
        self.norm = _NORMS[dims](narrow)
        widths = [narrow] * (_BLOCKS + 1) + [2 * narrow] * _BLOCKS + [WIDTH] * _BLOCKS
        self.blocks = nn.Sequential(*(_Block(inputs, outputs, dims) for inputs, outputs in itertools.pairwise(widths)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, *spatial) to (N, 64)."""
        y = F.relu(self.norm(self.conv(x)))
        return cast(Tensor, self.blocks(y).flatten(2).mean(2))


class _Block(nn.Module):
    """Two 3 x 3 convolutions; where the width doubles the shortcut skips every second pixel and adds zero channels."""

    def __init__(self, inputs: int, outputs: int, dims: int) -> None:
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.conv1 = convolution(dims, inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = _NORMS[dims](outputs)
        self.conv2 = convolution(dims, outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = _NORMS[dims](outputs)
        self.missing = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """Return the rectified sum of the block and its shortcut."""
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if self.missing:
            spatial = x.dim() - 2
            x = x[(slice(None), slice(None), *(slice(None, None, 2),) * spatial)]
            half = self.missing // 2
            x = F.pad(x, (0, 0) * spatial + (half, self.missing - half))
        return torch.relu(y + x)
