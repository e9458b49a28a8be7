"""SwinUNETR: a Swin transformer with a convolutional decoder (Hatamizadeh et al. 2022), 1.6 M parameters (3D: 4.1).

Stages: the four stages of the Swin transformer, at 1/4, 1/8, 1/16 and 1/32 of the image; image and patches are the
stem.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lorkit.decompose.models.backbones.stages import EncoderDecoder, mean_of_positions

_WIDTH = 12
_NORMALISED = True  # MONAI applies a layer norm without weights to the grids for the decoder
_ENCODERS = tuple(f"encoder{number}" for number in (1, 2, 3, 4, 10))  # of the skips
DECODER = (*_ENCODERS, *(f"decoder{number}" for number in range(1, 6)), "out")


def build(channels: int, dims: int) -> nn.Module:
    """Build it without its last convolution."""
    from monai.networks.nets.swin_unetr import SwinUNETR  # MONAI takes a second to import

    with _WithRates():
        network = cast(Any, SwinUNETR(channels, 1, feature_size=_WIDTH, spatial_dims=dims, normalize=_NORMALISED))
    network.feature_dim, network.maps_dim, network.head_name = 16 * _WIDTH, _WIDTH, "out.conv.conv"
    network.set_submodule(network.head_name, nn.Identity())
    return cast(nn.Module, network)


class _WithRates(TorchFunctionMode):
    """Compute `linspace` on the CPU: MONAI reads drop rates from it, which the meta device has not."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        return func(*args, **(kwargs or {}) | ({"device": "cpu"} if func is torch.linspace else {}))


def stages(network: Any) -> EncoderDecoder:
    """Return the stages of its transformer."""
    swin = network.swinViT

    def step(layer: nn.Module) -> Any:
        return lambda x: layer(x.contiguous())

    def stem(x: Tensor) -> tuple[Tensor, ...]:
        return x, swin.pos_drop(swin.patch_embed(x))

    def decode(stem: Sequence[Tensor], grids: Sequence[Tensor]) -> Tensor:
        image, *hidden = (stem[0], *(swin.proj_out(x, _NORMALISED) for x in (stem[1], *grids)))
        x = network.decoder5(network.encoder10(hidden[4]), hidden[3])
        x = network.decoder4(x, network.encoder4(hidden[2]))
        x = network.decoder3(x, network.encoder3(hidden[1]))
        x = network.decoder2(x, network.encoder2(hidden[0]))
        return cast(Tensor, network.out(network.decoder1(x, network.encoder1(image))))

    def pool(bottleneck: Tensor) -> Tensor:
        return mean_of_positions(swin.proj_out(bottleneck, _NORMALISED))

    layers = (swin.layers1[0], swin.layers2[0], swin.layers3[0], swin.layers4[0])
    return EncoderDecoder(stem, [step(layer) for layer in layers], decode, pool)
