"""Backbones with a small stem, for images below 64 pixels: a 3 x 3 convolution with stride 1, and no pooling.

The usual stem of an ImageNet network gives its first stage a quarter of the image's grid, 8 x 8 of 32 x 32 pixels, and
its last stage one position. With the small stem every grid is four times as wide (He et al. 2016, section 4.2). Classes
and keys of the network stay; the first kernel has another shape.
"""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from lorkit.decompose.config.student import SMALL_STEM
from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.backbones.resnet import ResNet
from lorkit.decompose.models.backbones.shufflenet import ShuffleNetV2

WIDER = 4
"""The grid of a stage, relative to that with the usual stem."""
_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)


def parse_small_stem(name: str) -> str | None:
    """Return the name of the backbone below `small-stem:`; None for the name of another backbone."""
    return name.removeprefix(SMALL_STEM) if name.startswith(SMALL_STEM) else None


def shrink_stem_(network: nn.Module, name: str) -> nn.Module:
    """Give a backbone with fresh weights a small stem, in place.

    Args:
        network: ResNets of this project and of timm, DenseNet or ShuffleNet.
        name: Its name, for the error.

    Raises:
        UsageError: Its architecture has no small stem.
    """
    place, pool = _stem(network) or ("", "")
    first = network.get_submodule(place) if place else None
    if not isinstance(first, _CONVOLUTIONS):
        raise no_small_stem(name)
    layer = cast(Any, type(first))
    small = layer(first.in_channels, first.out_channels, 3, padding=1, bias=first.bias is not None)
    nn.init.kaiming_normal_(small.weight, mode="fan_out", nonlinearity="relu")
    network.set_submodule(place, small)
    network.set_submodule(pool, nn.Identity())
    return network


def no_small_stem(name: str) -> UsageError:
    """Return the error of a backbone without a small stem."""
    return UsageError(
        f"student.stem small for backbone '{name}'",
        required="resnet18, resnet34, resnet50, resnet18_3d, densenet121, shufflenet_v2_x1_0, or a ResNet of timm",
        fix="leave student.stem out, or choose one of them",
    )


def _stem(network: nn.Module) -> tuple[str, str] | None:
    """Return the names of the first convolution and of the pooling after it; None for another structure."""
    if isinstance(network, ShuffleNetV2):
        return "conv1.0", "maxpool"
    if type(network).__name__ == "DenseNet121":
        return "features.conv0", "features.pool0"
    of_timm = all(hasattr(network, name) for name in ("conv1", "bn1", "act1", "maxpool", "layer1"))
    return ("conv1", "maxpool") if isinstance(network, ResNet) or of_timm else None
