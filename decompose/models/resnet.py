"""Residual networks of He et al. (2016) without their classifier, with torchvision's key names.

The stem is the usual one (7 x 7 stride 2, then max pooling), and the bottleneck strides in its 3 x 3 convolution
("v1.5"), so that public 2D weights load by name.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


class _Block(nn.Module):
    """What both residual blocks share: the shortcut and the last activation."""

    expansion: int
    downsample: nn.Module | None
    relu: nn.ReLU

    def residual(self, x_NCHW: Tensor) -> Tensor:
        """Return what the block adds to its input."""
        raise NotImplementedError

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H/s, W/s)."""
        shortcut = x_NCHW if self.downsample is None else self.downsample(x_NCHW)
        return cast(Tensor, self.relu(self.residual(x_NCHW) + shortcut))


class BasicBlock(_Block):
    """Two 3 x 3 convolutions."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = _convolution(inputs, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _convolution(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample

    def residual(self, x_NCHW: Tensor) -> Tensor:
        """Return what the block adds to its input."""
        y = self.relu(self.bn1(self.conv1(x_NCHW)))
        return cast(Tensor, self.bn2(self.conv2(y)))


class Bottleneck(_Block):
    """1 x 1, 3 x 3 (with the stride), 1 x 1 convolutions."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = _convolution(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _convolution(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _convolution(width, width * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def residual(self, x_NCHW: Tensor) -> Tensor:
        """Return what the block adds to its input."""
        y = self.relu(self.bn1(self.conv1(x_NCHW)))
        y = self.relu(self.bn2(self.conv2(y)))
        return cast(Tensor, self.bn3(self.conv3(y)))


class ResNet(nn.Module):
    """A headless 2D residual network: images to pooled features.

    Attributes:
        feature_dim: F, the number of features.
        head_name: Where `attach_head` puts a classifier.
    """

    head_name = "fc"

    def __init__(self, block: type[BasicBlock] | type[Bottleneck], depths: tuple[int, ...], *, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        inputs = 64
        for index, depth in enumerate(depths):
            width, stride = 64 * 2**index, 1 if index == 0 else 2
            self.add_module(f"layer{index + 1}", _stage(block, inputs, width, depth, stride))
            inputs = width * block.expansion
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc: nn.Module = nn.Identity()
        self.feature_dim = inputs
        self.stages = len(depths)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Map images (N, C, H, W) to features (N, F)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x_NCHW))))
        for index in range(self.stages):
            x = self.get_submodule(f"layer{index + 1}")(x)
        return cast(Tensor, self.fc(self.avgpool(x).flatten(1)))


def _stage(
    block: type[BasicBlock] | type[Bottleneck], inputs: int, width: int, depth: int, stride: int
) -> nn.Sequential:
    outputs = width * block.expansion
    downsample = None
    if stride != 1 or inputs != outputs:
        downsample = nn.Sequential(_convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
    first = block(inputs, width, stride, downsample)
    return nn.Sequential(first, *(block(outputs, width, 1, None) for _ in range(depth - 1)))


def resnet18(channels: int) -> ResNet:
    """11.2 million parameters, 512 features."""
    return ResNet(BasicBlock, (2, 2, 2, 2), channels=channels)


def resnet34(channels: int) -> ResNet:
    """21.3 million parameters, 512 features."""
    return ResNet(BasicBlock, (3, 4, 6, 3), channels=channels)


def resnet50(channels: int) -> ResNet:
    """23.5 million parameters, 2048 features."""
    return ResNet(Bottleneck, (3, 4, 6, 3), channels=channels)
