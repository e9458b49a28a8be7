"""Backbones as four stages that can be entered anywhere: what reprogramming injects foreign features into.

`walk` runs the network and keeps each stage's output as a grid; `forward_from` continues from a grid that stands for
one of them. No hooks: the network's own modules are called in order, so compilers and DDP see plain calls. One adapter
an architecture, found by the backbone's class.

Shapes: N images, C channels of a stage, H W its grid, F features, S tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.resnet import ResNet
from lorkit.decompose.models.shufflenet import ShuffleNetV2
from lorkit.decompose.models.vit import VisionTransformer

STAGES = 4
Step = Callable[[Tensor], Tensor]


class Walk(NamedTuple):
    """One pass through all stages.

    Attributes:
        grids: (N, C, H, W) of each stage.
        context: What `forward_from` needs besides a grid, by stage: a transformer's class token (N, 1, D), else None.
        features: (N, F), what the backbone itself returns.
    """

    grids: list[Tensor]
    context: list[Tensor | None]
    features: Tensor


class Staged(Protocol):
    """A backbone in stages."""

    def walk(self, x_NCHW: Tensor) -> Walk:
        """Run the whole network."""
        ...

    def forward_from(self, stage: int, grid_NCHW: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the features (N, F) that follow from a grid in place of a stage's output; stages count from 0."""
        ...


class _Chain:
    """A network whose stages map grids to grids.

    Args:
        stages: What each does.
        tail: The rest, to features.
    """

    def __init__(self, stages: Sequence[Step], tail: Step) -> None:
        self.stages, self.tail = tuple(stages), tail

    def walk(self, x_NCHW: Tensor) -> Walk:
        grids: list[Tensor] = []
        x = x_NCHW
        for stage in self.stages:
            x = stage(x)
            grids.append(x)
        return Walk(grids, [None] * len(grids), self.tail(x))

    def forward_from(self, stage: int, grid_NCHW: Tensor, context: Tensor | None = None) -> Tensor:
        del context
        x = grid_NCHW
        for later in self.stages[stage + 1 :]:
            x = later(x)
        return self.tail(x)


class _Transformer:
    """A transformer: stages are equal runs of blocks, grids its patch tokens without the class token.

    The last grid is the class token by itself, (N, D, 1, 1): the features read nothing else.
    """

    def __init__(self, network: VisionTransformer) -> None:
        self.network = network
        blocks = list(network.blocks)
        size = -(-len(blocks) // STAGES)
        self.stages = [blocks[start : start + size] for start in range(0, len(blocks), size)]

    def walk(self, x_NCHW: Tensor) -> Walk:
        patches_NDHW = self.network.patches(x_NCHW)
        x = self.network.tokens(patches_NDHW)
        grids: list[Tensor] = []
        context: list[Tensor | None] = []
        for stage in self.stages:
            for block in stage:
                x = block(x)
            grids.append(x[:, 1:].transpose(1, 2).reshape(patches_NDHW.shape))
            context.append(x[:, :1])
        grids[-1], context[-1] = x[:, 0, :, None, None], None
        return Walk(grids, context, self.network.pooled(x))

    def forward_from(self, stage: int, grid_NCHW: Tensor, context: Tensor | None = None) -> Tensor:
        if stage == len(self.stages) - 1:
            return self.network.pooled(grid_NCHW.flatten(2).transpose(1, 2))
        if context is None:
            raise UsageError(
                "patch tokens without a class token", required="the student's own, from `walk`", fix="pass its context"
            )
        x = torch.cat((context, grid_NCHW.flatten(2).transpose(1, 2)), dim=1)
        for later in self.stages[stage + 1 :]:
            for block in later:
                x = block(x)
        return self.network.pooled(x)


def _resnet(network: ResNet) -> Staged:
    first, *later = (network.get_submodule(f"layer{index + 1}") for index in range(STAGES))

    def stem(x: Tensor) -> Tensor:
        return cast(Tensor, first(network.maxpool(network.relu(network.bn1(network.conv1(x))))))

    def tail(x: Tensor) -> Tensor:
        return cast(Tensor, network.fc(network.avgpool(x).flatten(1)))

    return _Chain([stem, *later], tail)


def _shufflenet(network: ShuffleNetV2) -> Staged:
    def stem(x: Tensor) -> Tensor:
        return cast(Tensor, network.stage2(network.maxpool(network.conv1(x))))

    def tail(x: Tensor) -> Tensor:
        return cast(Tensor, network.fc(x.mean((2, 3))))

    return _Chain([stem, network.stage3, network.stage4, network.conv5], tail)


def _densenet(network: Any) -> Staged:
    first, *rest = network.class_layers.named_children()
    # its activation works in place, and would change the grid that a walk has kept
    layers = [*network.features.named_children(), first]
    ends = [name for name, _ in layers if name.startswith("transition")]
    runs: list[list[nn.Module]] = [[]]
    for name, layer in layers:
        runs[-1].append(layer)
        if name in ends:
            runs.append([])

    def stage(run: list[nn.Module]) -> Step:
        def step(x: Tensor) -> Tensor:
            for layer in run:
                x = layer(x)
            return x

        return step

    return _Chain([stage(run) for run in runs], stage([layer for _, layer in rest]))


def staged(backbone: nn.Module) -> Staged:
    """Return a backbone in its four stages; weights are shared, nothing is copied.

    Raises:
        UsageError: No adapter knows its architecture.
    """
    if isinstance(backbone, ResNet):
        return _resnet(backbone)
    if isinstance(backbone, ShuffleNetV2):
        return _shufflenet(backbone)
    if isinstance(backbone, VisionTransformer):
        return _Transformer(backbone)
    if type(backbone).__name__ == "DenseNet121" and hasattr(backbone, "class_layers"):
        return _densenet(backbone)
    raise UsageError(
        f"a {type(backbone).__name__} in stages",
        required="a ResNet, ShuffleNetV2, DenseNet121 or vision transformer of this project",
        fix="choose another backbone, or method rd, which needs no stages",
    )
