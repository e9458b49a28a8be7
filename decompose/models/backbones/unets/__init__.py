"""U-Nets of MONAI as headless networks for dense outputs, one file per architecture with its stages.

Each maps (N, C, *spatial) to features (N, F, *spatial), in 2D and 3D. Its encoder has four stages, the last of them the
bottleneck, so that any of them can be teacher or student of another. The file names the public class, whose keys the
weights have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from lorkit.decompose.models.backbones.stages import Staged
from lorkit.decompose.models.backbones.unets import basicunet, dynunet, segresnet, swinunetr, unet

__all__ = ["UNETS", "Architecture"]


class Architecture(NamedTuple):
    """A U-Net of the registry.

    Attributes:
        build: (channels, spatial dims) to a headless network with `feature_dim` and `head_name`.
        stages: The network in stages.
        class_name: Class of the network, by which `staged` finds it.
        divisor: Every side of the image must be a multiple of it.
    """

    build: Callable[[int, int], nn.Module]
    stages: Callable[[nn.Module], Staged]
    class_name: str
    divisor: int


UNETS: dict[str, Architecture] = {
    "basicunet": Architecture(basicunet.build, basicunet.stages, "BasicUNet", 16),
    "dynunet": Architecture(dynunet.DynUNet, dynunet.stages, "DynUNet", 8),
    "segresnet": Architecture(segresnet.build, segresnet.stages, "SegResNet", 8),
    "swinunetr": Architecture(swinunetr.build, swinunetr.stages, "SwinUNETR", 32),
    "unet": Architecture(unet.UNet, unet.stages, "UNet", 8),
}
