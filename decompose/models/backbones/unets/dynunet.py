"""DynUNet: nnU-Net's plain network, strided convolutions and instance norms, 0.5 M parameters in 2D, 1.4 in 3D.

Stages: the input block, two downsampling blocks and the bottleneck, at 1/1, 1/2, 1/4 and 1/8 of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn

from lorkit.decompose.models.backbones.stages import EncoderDecoder

_WIDTHS = (16, 32, 64, 128)
_STRIDES = (1, 2, 2, 2)
DECODER = ("upsamples", "output_block")


class DynUNet(nn.Module):
    """The blocks of MONAI's DynUNet under their first names.

    MONAI registers each block again in its nested `skip_layers`; saved that way, weights and their copies could not be
    distinguished.

    Attributes:
        feature_dim: F, the channels of the bottleneck.
        maps_dim: M, the channels of the maps.
        head_name: Name of the module that `attach_head` replaces.
    """

    head_name = "output_block.conv.conv"
    feature_dim, maps_dim = _WIDTHS[-1], _WIDTHS[0]

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__()
        from monai.networks.nets.dynunet import DynUNet as Original  # MONAI takes a second to import

        kernels = [(3,) * dims] * len(_WIDTHS)
        strides = [(stride,) * dims for stride in _STRIDES]
        network = Original(dims, channels, 1, kernels, strides, strides[1:], filters=_WIDTHS)
        self.input_block: nn.Module = network.input_block
        self.downsamples: nn.ModuleList = network.downsamples
        self.bottleneck: nn.Module = network.bottleneck
        self.upsamples: nn.ModuleList = network.upsamples
        self.output_block: nn.Module = network.output_block
        self.set_submodule(self.head_name, nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, *spatial) to maps (N, M, *spatial)."""
        return stages(self).run_stages(x).features


def stages(network: Any) -> EncoderDecoder:
    """Return its blocks as stages."""

    def stem(x: Tensor) -> tuple[Tensor, ...]:
        return (x,)

    def decode(stem: Sequence[Tensor], grids: Sequence[Tensor]) -> Tensor:
        del stem
        x = grids[-1]
        for block, skip in zip(network.upsamples, reversed(grids[:-1]), strict=True):
            x = block(x, skip)
        return cast(Tensor, network.output_block(x))

    return EncoderDecoder(stem, [network.input_block, *network.downsamples, network.bottleneck], decode)
