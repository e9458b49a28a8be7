"""A U-Net of few channels without MONAI, for tests of what is around a U-Net: its training and tracing take no time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lorkit.decompose.models.backbones.stages import EncoderDecoder
from lorkit.decompose.models.backbones.unets import Architecture


class TinyUNet(nn.Module):
    """Four levels at 1/2, 1/4, 1/8 and 1/8 of the image, as in MONAI's UNet, and three steps of a decoder."""

    head_name = "head"
    widths, strides = (8, 8, 12, 12), (2, 2, 2, 1)
    feature_dim, maps_dim = 12, 8

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__()
        flat = dims == 2
        down, up = (nn.Conv2d, nn.ConvTranspose2d) if flat else (nn.Conv3d, nn.ConvTranspose3d)
        norm = nn.InstanceNorm2d if flat else nn.InstanceNorm3d
        inputs, skips = (channels, *self.widths[:-1]), self.widths[:-1]
        self.downs = nn.ModuleList(
            nn.Sequential(down(one, two, 3, stride, 1), norm(two), nn.ReLU())
            for one, two, stride in zip(inputs, self.widths, self.strides, strict=True)
        )
        above = (self.maps_dim, *skips[:-1])
        below = (*above[1:], self.feature_dim)
        self.ups = nn.ModuleList(
            up(skip + under, over, 2, 2) for skip, under, over in zip(skips, below, above, strict=True)
        )
        self.finish = nn.Sequential(norm(self.maps_dim), nn.ReLU())  # maps that differ from place to place
        self.head: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, *spatial) to maps (N, M, *spatial)."""
        return stages(self).run_stages(x).features


def stages(network: Any) -> EncoderDecoder:
    """Return its levels as stages."""

    def decode(stem: Sequence[Tensor], grids: Sequence[Tensor]) -> Tensor:
        del stem
        x = grids[-1]
        for up, skip in zip(reversed(network.ups), reversed(grids[:-1]), strict=True):
            x = up(torch.cat((skip, x), dim=1))
        maps: Tensor = network.head(network.finish(x))
        return maps

    return EncoderDecoder(lambda x: (x,), list(network.downs), decode)


TINY_UNET = Architecture(TinyUNet, stages, "TinyUNet", 8, ("ups", "finish", "head"))
