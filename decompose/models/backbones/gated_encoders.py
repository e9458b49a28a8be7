"""Several encoders whose features a gate mixes: the shared part of MMoE, and its network of one region.

Shapes: N images, K encoders, F features; `spatial` is the grid of dense features, else empty.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod
from typing import cast

from torch import Tensor, nn

from lorkit.decompose.models.backbones.stage_adapters import encode, forked
from lorkit.decompose.models.backbones.stages import EMPTY, Encoding, Forked, StageContext

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
        feature_dim: F, the width of pooled features.
        image_shape: (C, *spatial).

    It has `maps_dim` if they have.
    """

    def __init__(self, encoders: Sequence[nn.Module]) -> None:
        super().__init__(encoders)
        _describe_as(self, self.first)

    @property
    def first(self) -> nn.Module:
        """One of the equal backbones."""
        return self[0]

    def forward(self, x: Tensor, weights_NK: Tensor) -> Tensor:
        """Map images (N, C, *spatial) to the mean of the K outputs by `weights_NK`."""
        return weighted([encoder(x) for encoder in self], weights_NK)


def weighted(features: Sequence[Tensor], weights_NK: Tensor) -> Tensor:
    """Return the sum of K features (N, F, *spatial), weighted by sample."""
    # summed one by one: no tensor has more axes than the features, which some runtimes limit
    parts = [weights_NK[:, k].reshape(-1, *(1,) * (value.dim() - 1)) * value for k, value in enumerate(features)]
    return sum(parts[1:], parts[0])


def _describe_as(network: nn.Module, other: nn.Module) -> None:
    for name in ("feature_dim", "maps_dim", "image_shape"):
        if hasattr(other, name):
            setattr(network, name, getattr(other, name))


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
        _describe_as(self, encoders)

    @property
    def first(self) -> nn.Module:
        """One of the equal backbones."""
        return self.encoders.first

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, *spatial) to features (N, F, *spatial), or to the outputs of the head."""
        return cast(Tensor, self.head(self.encoders(x, gate_weights(self.gate, x))))

    def fork(self) -> Forked:
        """Return the network with pooled features and maps."""
        return _GatedFork(self)


class _GatedFork:
    """A gated backbone that runs once for each kind of features."""

    def __init__(self, network: GatedEncoders) -> None:
        self.network = network

    def first_grid(self, x: Tensor) -> tuple[Tensor, StageContext]:
        return x, EMPTY

    def encode_from(self, stage: int, grid: Tensor, context: StageContext = EMPTY) -> Encoding:
        del stage, context
        return Encoding(grid, (grid,))

    def pooled(self, last: Tensor) -> Tensor:
        found = [network.pooled(encode(network, last).last) for network in map(forked, self.network.encoders)]
        return weighted(found, gate_weights(self.network.gate, last))

    def maps(self, encoding: Encoding) -> Tensor:
        x = encoding.last
        found = [network.maps(encode(network, x)) for network in map(forked, self.network.encoders)]
        return weighted(found, gate_weights(self.network.gate, x))
