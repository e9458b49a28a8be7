"""Several encoders whose features a gate mixes: the shared part of MMoE, and its network of one region.

Shapes: N images, K encoders, F features; `spatial` is the grid of dense features, else empty.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod
from typing import cast

from torch import Tensor, nn

_NAME = re.compile(r"mmoe-([1-9][0-9]?):(.+)")


def gated_name(backbone: str, encoders: int) -> str:
    """Return the name of a backbone of several encoders, such as `mmoe-3:resnet18`."""
    return f"mmoe-{encoders}:{backbone}"


def parse_gated(name: str) -> tuple[int, str] | None:
    """Return the number of encoders and their name; None for the name of another backbone."""
    found = _NAME.fullmatch(name)
    return (int(found[1]), found[2]) if found else None


class Encoders(nn.ModuleList):
    """K backbones of the same shapes, and the weighted sum of their features.

    Attributes:
        feature_dim: F.
        dense_dims: Number of spatial dimensions of the features.
    """

    def __init__(self, encoders: Sequence[nn.Module]) -> None:
        super().__init__(encoders)
        self.feature_dim = cast(int, encoders[0].feature_dim)
        self.dense_dims = cast(int, getattr(encoders[0], "dense_dims", 0))

    def forward(self, x: Tensor, weights_NK: Tensor) -> Tensor:
        """Map images (N, C, *spatial) to the mean of the K features by `weights_NK`, (N, F, *spatial)."""
        # summed one by one: no tensor has more axes than the features, which some runtimes limit
        parts = [
            weights_NK[:, k].reshape(-1, 1, *(1,) * self.dense_dims) * encoder(x) for k, encoder in enumerate(self)
        ]
        return cast(Tensor, sum(parts[1:], parts[0]))


def new_gate(image_shape: tuple[int, ...], encoders: int) -> nn.Linear:
    """Return a gate with fresh weights: from the values of an image (C, *spatial) to one score per encoder."""
    return nn.Linear(prod(image_shape), encoders)


def gate_weights(gate: nn.Module, x: Tensor) -> Tensor:
    """Return the weights of the encoders (N, K), which sum to 1, of images (N, C, *spatial)."""
    return cast(Tensor, gate(x.flatten(1)).softmax(1))


class GatedEncoders(nn.Module):
    """A backbone of several encoders with one gate: images to the mean of their features, then a head.

    Args:
        encoders: The encoders.
        gate: From the values of an image to one score per encoder.
    """

    head_name = "head"

    def __init__(self, encoders: Encoders, gate: nn.Module) -> None:
        super().__init__()
        self.encoders, self.gate, self.head = encoders, gate, nn.Identity()
        self.feature_dim, self.dense_dims = encoders.feature_dim, encoders.dense_dims

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, *spatial) to features (N, F, *spatial), or to the outputs of the head."""
        return cast(Tensor, self.head(self.encoders(x, gate_weights(self.gate, x))))
