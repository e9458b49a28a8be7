"""Residual networks of He et al. (2016) in 2D and 3D without their classifier, with torchvision's key names.

The stem is 7 x 7 with stride 2, then max pooling; the bottleneck has its stride in the 3 x 3 convolution ("v1.5"), so
that public 2D weights load by name. The 3D networks have cubic kernels, as MedicalNet's.

Stages: `layer1` (with the stem) to `layer4`, at 1/4, 1/8, 1/16 and 1/32 of the image.
"""

from __future__ import annotations

from typing import NamedTuple, cast

from torch import Tensor, nn

from lorkit.decompose.models.backbones.stages import STAGES, Gridded, SequentialStages


class _Layers(NamedTuple):
    conv: type[nn.Conv2d] | type[nn.Conv3d]
    norm: type[nn.BatchNorm2d] | type[nn.BatchNorm3d]
    pool: type[nn.MaxPool2d] | type[nn.MaxPool3d]
    mean: type[nn.AdaptiveAvgPool2d] | type[nn.AdaptiveAvgPool3d]

    def convolution(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
        """Return a convolution without bias that keeps the grid, except for its stride."""
        return self.conv(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


_LAYERS = {
    2: _Layers(nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d),
    3: _Layers(nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d, nn.AdaptiveAvgPool3d),
}


class _Block(nn.Module):
    """Base class of the residual blocks: the shortcut and the last activation."""

    expansion: int
    downsample: nn.Module | None
    relu: nn.ReLU

    def residual(self, x: Tensor) -> Tensor:
        """Return the residual of the block."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, *spatial) to (N, C', *spatial / s)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return cast(Tensor, self.relu(self.residual(x) + shortcut))


class BasicBlock(_Block):
    """Two 3 x 3 convolutions."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, downsample: nn.Module | None, layers: _Layers) -> None:
        super().__init__()
        self.conv1 = layers.convolution(inputs, width, 3, stride)
        self.bn1 = layers.norm(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = layers.convolution(width, width, 3)
        self.bn2 = layers.norm(width)
        self.downsample = downsample

    def residual(self, x: Tensor) -> Tensor:
        """Return the residual of the block."""
        y = self.relu(self.bn1(self.conv1(x)))
        return cast(Tensor, self.bn2(self.conv2(y)))


class Bottleneck(_Block):
    """1 x 1, 3 x 3 (with the stride), 1 x 1 convolutions."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, downsample: nn.Module | None, layers: _Layers) -> None:
        super().__init__()
        self.conv1 = layers.convolution(inputs, width, 1)
        self.bn1 = layers.norm(width)
        self.conv2 = layers.convolution(width, width, 3, stride)
        self.bn2 = layers.norm(width)
        self.conv3 = layers.convolution(width, width * self.expansion, 1)
        self.bn3 = layers.norm(width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def residual(self, x: Tensor) -> Tensor:
        """Return the residual of the block."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return cast(Tensor, self.bn3(self.conv3(y)))


class ResNet(nn.Module):
    """A headless residual network: images to pooled features.

    Attributes:
        feature_dim: F, the number of features.
        head_name: Name of the module that `attach_head` replaces.
        rectified: Pooled features are means of rectified maps, so never negative.
    """

    head_name = "fc"
    rectified = True

    def __init__(
        self, block: type[BasicBlock] | type[Bottleneck], depths: tuple[int, ...], *, channels: int, dims: int = 2
    ) -> None:
        super().__init__()
        layers = _LAYERS[dims]
        self.conv1 = layers.convolution(channels, 64, 7, 2)
        self.bn1 = layers.norm(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = layers.pool(3, 2, padding=1)
        inputs = 64
        for index, depth in enumerate(depths):
            width, stride = 64 * 2**index, 1 if index == 0 else 2
            self.add_module(f"layer{index + 1}", _stage(block, inputs, width, depth, stride, layers))
            inputs = width * block.expansion
        self.avgpool = layers.mean(1)
        self.fc: nn.Module = nn.Identity()
        self.feature_dim = inputs
        self.stages = len(depths)
        for module in self.modules():
            if isinstance(module, layers.conv):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, *spatial) to features (N, F)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for index in range(self.stages):
            x = self.get_submodule(f"layer{index + 1}")(x)
        return cast(Tensor, self.fc(self.avgpool(x).flatten(1)))


def _stage(
    block: type[BasicBlock] | type[Bottleneck], inputs: int, width: int, depth: int, stride: int, layers: _Layers
) -> nn.Sequential:
    outputs = width * block.expansion
    downsample = None
    if stride != 1 or inputs != outputs:
        downsample = nn.Sequential(layers.convolution(inputs, outputs, 1, stride), layers.norm(outputs))
    first = block(inputs, width, stride, downsample, layers)
    return nn.Sequential(first, *(block(outputs, width, 1, None, layers) for _ in range(depth - 1)))


def resnet18(channels: int) -> ResNet:
    """11.2 million parameters, 512 features."""
    return ResNet(BasicBlock, (2, 2, 2, 2), channels=channels)


def resnet18_3d(channels: int) -> ResNet:
    """33.2 million parameters, 512 features; for volumes."""
    return ResNet(BasicBlock, (2, 2, 2, 2), channels=channels, dims=3)


def resnet34(channels: int) -> ResNet:
    """21.3 million parameters, 512 features."""
    return ResNet(BasicBlock, (3, 4, 6, 3), channels=channels)


def resnet50(channels: int) -> ResNet:
    """23.5 million parameters, 2048 features."""
    return ResNet(Bottleneck, (3, 4, 6, 3), channels=channels)


def stages(network: ResNet) -> Gridded:
    """Return its layers as stages."""
    first, *later = (network.get_submodule(f"layer{index + 1}") for index in range(STAGES))

    def stem(x: Tensor) -> Tensor:
        return cast(Tensor, first(network.maxpool(network.relu(network.bn1(network.conv1(x))))))

    def tail(x: Tensor) -> Tensor:
        return cast(Tensor, network.fc(network.avgpool(x).flatten(1)))

    return SequentialStages([stem, *later], tail)
