"""SegResNet: residual blocks with group norms and added skips (Myronenko 2018), 1.6 M parameters (3D: 4.7).

Stages: the four levels of the encoder, at 1/1, 1/2, 1/4 and 1/8 of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn

from lorkit.decompose.models.backbones.stages import EncoderDecoder

_WIDTH = 16
DECODER = ("up_layers", "up_samples", "conv_final")


def build(channels: int, dims: int) -> nn.Module:
    """Build it without its last convolution."""
    from monai.networks.nets.segresnet import SegResNet  # MONAI takes a second to import

    network = cast(Any, SegResNet(dims, _WIDTH, channels, 1))
    network.feature_dim, network.maps_dim, network.head_name = 8 * _WIDTH, _WIDTH, "conv_final.2"
    network.conv_final[2] = nn.Identity()
    return cast(nn.Module, network)


def stages(network: Any) -> EncoderDecoder:
    """Return its levels as stages."""

    def stem(x: Tensor) -> tuple[Tensor, ...]:
        return (network.convInit(x),)

    def decode(stem: Sequence[Tensor], grids: Sequence[Tensor]) -> Tensor:
        del stem
        return cast(Tensor, network.decode(grids[-1], list(reversed(grids))))

    return EncoderDecoder(stem, list(network.down_layers), decode)
