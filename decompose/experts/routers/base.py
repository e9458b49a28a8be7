"""What routers share.

Shapes: N samples, C channels, H hidden numbers; spatial axes are 2 or 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn

WIDTH = 64
"""H of every router, as in the paper's ResNet-20."""

CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
POOLS: dict[int, Callable[..., nn.Module]] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}


class Router(nn.Module):
    """A network from images, or grids of the backbone's first stage, to hidden numbers (N, H).

    Args:
        shape: (C, *spatial) of its input.

    Attributes:
        taps: Whether its input is the grid of the backbone's first stage, else the normalised image.
        width: H.
    """

    taps: ClassVar[bool] = False
    width: int = WIDTH

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, *spatial) to (N, H)."""
        raise NotImplementedError


def shrink(size: tuple[int, ...], most: int) -> tuple[nn.Module, tuple[int, ...]]:
    """Return average pooling that leaves at most `most` positions along each axis, and the sides that it leaves.

    Its kernel is fixed by the size, so an exported graph has a plain pooling.
    """
    kernel = tuple(-(-side // most) for side in size)
    return POOLS[len(size)](kernel), tuple(side // step for side, step in zip(size, kernel, strict=True))


def convolution(dims: int, *arguments: Any, **settings: Any) -> nn.Module:
    """Return a 2D or 3D convolution."""
    return CONVOLUTIONS[dims](*arguments, **settings)
