"""BasicUNet: two convolutions per level, max pooling (Falk et al. 2019), 0.5 million parameters in 2D, 1.4 in 3D.

Stages: the four levels below the finest, at 1/2, 1/4, 1/8 and 1/16 of the image; the finest level is the stem.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn

from lorkit.decompose.models.backbones.stages import EncoderDecoder

_WIDTHS = (16, 16, 32, 64, 128, 16)
DECODER = ("upcat_4", "upcat_3", "upcat_2", "upcat_1", "final_conv")


def build(channels: int, dims: int) -> nn.Module:
    """Build it without its last convolution."""
    from monai.networks.nets.basic_unet import BasicUNet  # MONAI takes a second to import

    network = cast(Any, BasicUNet(dims, channels, 1, features=_WIDTHS))
    network.feature_dim, network.maps_dim, network.head_name = _WIDTHS[-2], _WIDTHS[-1], "final_conv"
    network.final_conv = nn.Identity()
    return cast(nn.Module, network)


def stages(network: Any) -> EncoderDecoder:
    """Return its levels as stages."""

    def stem(x: Tensor) -> tuple[Tensor, ...]:
        return (network.conv_0(x),)

    def decode(stem: Sequence[Tensor], grids: Sequence[Tensor]) -> Tensor:
        x = network.upcat_4(grids[3], grids[2])
        x = network.upcat_3(x, grids[1])
        x = network.upcat_2(x, grids[0])
        return cast(Tensor, network.final_conv(network.upcat_1(x, stem[0])))

    return EncoderDecoder(stem, [network.down_1, network.down_2, network.down_3, network.down_4], decode)
