"""UNet: MONAI's residual U-Net (Kerfoot et al. 2019), 1.6 M parameters in 2D, 4.8 M in 3D.

Stages: three downsampling levels and the bottom, at 1/2, 1/4, 1/8 and 1/8 of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from lorkit.decompose.models.backbones.stages import EncoderDecoder

_WIDTHS = (32, 64, 128, 256)
_STRIDES = (2, 2, 2)
_UPS = tuple(f"model.{level * '1.submodule.'}2" for level in range(len(_STRIDES)))
DECODER = (*_UPS, "finish", "head")


class UNet(nn.Module):
    """MONAI's UNet up to `maps_dim` maps, a norm and an activation, then an identity for a 1 x 1 convolution.

    The original ends in a transposed convolution to the classes, without features that regions could share.

    Attributes:
        feature_dim: F, the channels of the bottleneck.
        maps_dim: M, the channels of the maps.
        head_name: Name of the module that `attach_head` replaces.
    """

    head_name = "head"
    feature_dim, maps_dim = _WIDTHS[-1], _WIDTHS[0]

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__()
        from monai.networks.nets.unet import UNet as Original  # MONAI takes a second to import

        self.model: nn.Module = Original(dims, channels, self.maps_dim, _WIDTHS, _STRIDES, num_res_units=2).model
        norm = nn.InstanceNorm2d if dims == 2 else nn.InstanceNorm3d
        self.finish = nn.Sequential(norm(self.maps_dim), nn.PReLU())
        self.head: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, *spatial) to maps (N, M, *spatial)."""
        return cast(Tensor, self.head(self.finish(self.model(x))))


def stages(network: Any) -> EncoderDecoder:
    """Return its levels as stages."""
    levels, ups = [], []
    inner = network.model
    for _ in _STRIDES:  # MONAI nests (down, skip connection around the rest, up)
        levels.append(inner[0])
        ups.append(inner[2])
        inner = inner[1].submodule

    def stem(x: Tensor) -> tuple[Tensor, ...]:
        return (x,)

    def decode(stem: Sequence[Tensor], grids: Sequence[Tensor]) -> Tensor:
        del stem
        x = grids[-1]
        for up, skip in zip(reversed(ups), reversed(grids[:-1]), strict=True):
            x = up(torch.cat((skip, x), dim=1))
        return cast(Tensor, network.head(network.finish(x)))

    return EncoderDecoder(stem, [*levels, inner], decode)
