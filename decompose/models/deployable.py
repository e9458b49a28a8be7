"""The deployed module of one region: the normalisation and a plain network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn


class Normalise(nn.Module):
    """(x - mean) / std by channel; the statistics are buffers, so they are saved with the weights."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([float(value) for value in mean]))
        self.register_buffer("std", torch.tensor([float(value) for value in std]))

    def forward(self, image: Tensor) -> Tensor:
        """Normalise images (N, C, *spatial)."""
        shape = (-1, *(1,) * (image.dim() - 2))
        return (image - self.mean.view(shape)) / self.std.view(shape)


class Deployable(nn.Module):
    """Images in [0, 1] to the logits of one region: the content of `model.pt2` and every exported graph.

    Args:
        network: A plain network (N, C, *spatial) -> (N, classes), or (N, 1 + structures, *spatial).
        mean: One value per channel.
        std: One value per channel.
    """

    def __init__(self, network: nn.Module, *, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.network = network

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean by channel."""
        return tuple(self.normalise.mean.tolist())

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation by channel."""
        return tuple(self.normalise.std.tolist())

    def forward(self, image: Tensor) -> Tensor:
        """Map images (N, C, *spatial) in [0, 1] to logits."""
        return cast(Tensor, self.network(self.normalise(image)))
