"""A small perceptron on all values of a node's image, the student of RAGFormer, or on its own features alone.

Stages: two of the first hidden layer and two of the second, as grids of one position, (N, width, 1, 1, 1).

Shapes: N nodes, H hidden width.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import cast

from torch import Tensor, nn

from lorkit.decompose.models.backbones.graphs.tokens import node_shape
from lorkit.decompose.models.backbones.stages import SequentialStages, StageFunction, runs_of


class NodeMlp(nn.Module):
    """A headless perceptron: images of nodes to features that are never negative.

    Args:
        inputs: Values of a node.
        hidden: Widths.
        own: Whether it sees the node's own features alone.

    Attributes:
        feature_dim: Width of the last hidden layer.
        head_name: Name of the module that `attach_head` replaces.
        rectified: Its features are never negative.
    """

    head_name = "head"
    rectified = True

    def __init__(self, inputs: int, hidden: Sequence[int], *, own: bool = False) -> None:
        super().__init__()
        self.own = own
        widths = [inputs, *hidden]
        self.layers = nn.Sequential(*(nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(widths)))
        self.feature_dim = widths[-1]
        self.head: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, *spatial) to features (N, F)."""
        return cast(Tensor, self.head(self.layers(self.values(x))))

    def values(self, x: Tensor) -> Tensor:
        """Return the values (N, inputs) of images (N, C + 2, R, K + 1, F + 1) that the first layer sees."""
        return x[:, -2, 0, 0, :-1] if self.own else x.flatten(1)


def node_mlp(channels: int, image_size: tuple[int, ...], *, hidden: Sequence[int] = (64, 32)) -> NodeMlp:
    """Return a perceptron with the widths `hidden`, for images of any size.

    With 2 classes, 3 relations, 2 hops and 32 features it has 78,176 parameters.
    """
    return NodeMlp(channels * prod(image_size), hidden)


def node_mlp_own(channels: int, image_size: tuple[int, ...], *, hidden: Sequence[int] = (64, 32)) -> NodeMlp:
    """Return a perceptron on the F own features of a node; raise UsageError for other images."""
    return NodeMlp(node_shape(channels, image_size).values - 1, hidden, own=True)


def stages(network: NodeMlp) -> SequentialStages:
    """Return its layers in four runs; with less than four layers, some stages repeat the grid before them."""
    runs = [network.layers[run] for run in runs_of(len(network.layers))]

    def stage_of(run: nn.Module, *, first: bool) -> StageFunction:
        return lambda x: run(network.values(x) if first else x.flatten(1))[..., None, None, None]

    grids = [stage_of(run, first=index == 0) for index, run in enumerate(runs)]
    return SequentialStages(grids, lambda grid: network.head(grid.flatten(1)))
