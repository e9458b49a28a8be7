"""U-Nets of MONAI as headless networks for dense outputs, one file per architecture with its stages.

Each maps (N, C, *spatial) to maps (N, M, *spatial), in 2D and 3D. Its encoder has four stages, the last of them the
bottleneck, so that any of them can be teacher or student of another; the mean of the bottleneck is the features of
classes. The file names the public class, whose keys the weights have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from lorkit.decompose.models.backbones.stages import EncoderDecoder
from lorkit.decompose.models.backbones.unets import basicunet, dynunet, segresnet, swinunetr, unet

__all__ = ["UNETS", "Architecture", "architecture_of"]


class Architecture(NamedTuple):
    """A U-Net of the registry.

    Attributes:
        build: (channels, spatial dims) to a headless network with `feature_dim`, `maps_dim` and `head_name`.
        stages: The network in stages.
        class_name: Class of the network, by which `architecture_of` finds it.
        divisor: Every side of the image must be a multiple of it.
        decoder: Names of the modules that only maps need.
    """

    build: Callable[[int, int], nn.Module]
    stages: Callable[[nn.Module], EncoderDecoder]
    class_name: str
    divisor: int
    decoder: tuple[str, ...]


UNETS: dict[str, Architecture] = {
    "basicunet": Architecture(basicunet.build, basicunet.stages, "BasicUNet", 16, basicunet.DECODER),
    "dynunet": Architecture(dynunet.DynUNet, dynunet.stages, "DynUNet", 8, dynunet.DECODER),
    "segresnet": Architecture(segresnet.build, segresnet.stages, "SegResNet", 8, segresnet.DECODER),
    "swinunetr": Architecture(swinunetr.build, swinunetr.stages, "SwinUNETR", 32, swinunetr.DECODER),
    "unet": Architecture(unet.UNet, unet.stages, "UNet", 8, unet.DECODER),
}


def architecture_of(network: nn.Module) -> Architecture | None:
    """Return the architecture of a U-Net with its decoder, None for another network."""
    found = (one for one in UNETS.values() if type(network).__name__ == one.class_name)
    return next(found, None) if hasattr(network, "maps_dim") else None
