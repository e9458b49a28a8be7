"""ShuffleNet V2 of Ma et al. (2018), the student in LoRKD's paper, without classifier, with torchvision's keys.

Stages: `stage2` (with the stem), `stage3`, `stage4` and `conv5`, at 1/8, 1/16, 1/32 and 1/32 of the image.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from lorkit.decompose.models.backbones.stages import Gridded, SequentialStages

_DEPTHS = (4, 8, 4)
_WIDTHS = (24, 116, 232, 464, 1024)  # the 1.0x network


def _depthwise(channels: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)


def _pointwise(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


class ShuffleUnit(nn.Module):
    """Two branches with half of the channels each; with stride 1 the first is the identity."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride, half = stride, outputs // 2
        first: list[nn.Module] = []
        if stride > 1:
            first = [_depthwise(inputs, stride), nn.BatchNorm2d(inputs), *_pointwise(inputs, half)]
        self.branch1 = nn.Sequential(*first)
        self.branch2 = nn.Sequential(
            *_pointwise(inputs if stride > 1 else half, half),
            _depthwise(half, stride),
            nn.BatchNorm2d(half),
            *_pointwise(half, half),
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H/s, W/s) and interleave the channels of the branches."""
        if self.stride == 1:
            kept, worked = x_NCHW.chunk(2, dim=1)
            y = torch.cat((kept, self.branch2(worked)), dim=1)
        else:
            y = torch.cat((self.branch1(x_NCHW), self.branch2(x_NCHW)), dim=1)
        batch, channels, *spatial = y.shape
        return y.view(batch, 2, channels // 2, *spatial).transpose(1, 2).flatten(1, 2)


class ShuffleNetV2(nn.Module):
    """A headless ShuffleNet V2 1.0x: images to pooled features.

    Attributes:
        feature_dim: F, the number of features (1024).
        head_name: Name of the module that `attach_head` replaces.
        rectified: Pooled features are means of rectified maps, so never negative.
    """

    head_name = "fc"
    rectified = True
    feature_dim = _WIDTHS[-1]

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(channels, _WIDTHS[0], 3, 2, padding=1, bias=False),
            nn.BatchNorm2d(_WIDTHS[0]),
            nn.ReLU(inplace=True),
        )
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        stages = zip(_DEPTHS, _WIDTHS[:-2], _WIDTHS[1:-1], strict=True)
        self.stage2, self.stage3, self.stage4 = (
            nn.Sequential(
                ShuffleUnit(inputs, outputs, 2), *(ShuffleUnit(outputs, outputs, 1) for _ in range(depth - 1))
            )
            for depth, inputs, outputs in stages
        )
        self.conv5 = nn.Sequential(*_pointwise(_WIDTHS[-2], _WIDTHS[-1]))
        self.fc: nn.Module = nn.Identity()

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Map images (N, C, H, W) to features (N, F)."""
        x = self.maxpool(self.conv1(x_NCHW))
        x = self.conv5(self.stage4(self.stage3(self.stage2(x))))
        return cast(Tensor, self.fc(x.mean((2, 3))))


def stages(network: ShuffleNetV2) -> Gridded:
    """Return its stages and its last convolution as stages."""

    def stem(x: Tensor) -> Tensor:
        return cast(Tensor, network.stage2(network.maxpool(network.conv1(x))))

    def tail(x: Tensor) -> Tensor:
        return cast(Tensor, network.fc(x.mean((2, 3))))

    return SequentialStages([stem, network.stage3, network.stage4, network.conv5], tail)
