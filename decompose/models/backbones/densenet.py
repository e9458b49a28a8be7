"""DenseNet-121 of Huang et al. (2017) through MONAI, in 2D and 3D, without its classifier.

Stages: the dense blocks with their transitions, the last with its norm and activation, at 1/8, 1/16, 1/32 and 1/32 of
the image.
"""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.backbones.stages import Gridded, SequentialStages

_LEAST = 29  # smaller sides cannot be halved at the third transition


def densenet121(channels: int, image_size: tuple[int, ...]) -> nn.Module:
    """Build a network of 7.0 million parameters in 2D, 11.2 in 3D, and 1024 features; UsageError for small images."""
    from monai.networks.nets.densenet import DenseNet121  # a second of import, not needed by other backbones

    if min(image_size) < _LEAST:
        raise UsageError(
            f"image size {'x'.join(map(str, image_size))} for densenet121",
            required=f"sides of {_LEAST} or more",
            fix="change image.size or choose another backbone",
        )
    network = cast(Any, DenseNet121(spatial_dims=len(image_size), in_channels=channels, out_channels=1))
    network.feature_dim, network.head_name = network.class_layers.out.in_features, "class_layers.out"
    network.class_layers.out, network.rectified = nn.Identity(), True
    return cast(nn.Module, network)


def stages(network: Any) -> Gridded:
    """Return its blocks as stages."""
    first, *rest = network.class_layers.named_children()
    # its activation is in place, and would change the stored grid
    layers = [*network.features.named_children(), first]
    ends = [name for name, _ in layers if name.startswith("transition")]
    runs: list[list[nn.Module]] = [[]]
    for name, layer in layers:
        runs[-1].append(layer)
        if name in ends:
            runs.append([])

    return SequentialStages([nn.Sequential(*run) for run in runs], nn.Sequential(*(layer for _, layer in rest)))
