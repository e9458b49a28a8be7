"""RAGFormer: a transformer over groups of neighbours, networks of propagated features, and attention over both.

After "RAGFormer: Learning Semantic Attributes and Topological Structure for Fraud Detection" (arXiv 2402.17472), with
these differences from its published code. Own tokens are mixed after every layer, as its figure shows, by weights of
that layer. The topology of a relation is a two-layer network on features that were propagated over the whole graph
beforehand, in place of graph convolutions over the edges within a batch: so a node scores the same in every batch.

Stages: four runs of layers. Grids are the tokens (N, E, R, T + 1, 1), of which the last of each relation is its
topology; the grid after the last layer has the own tokens alone, (N, E, R, 2, 1). Without topology both have one less.

Shapes: N nodes, C classes, R relations, K hops, V = F + 1 values, T = 1 + K*(C + 1) tokens per relation, E width,
U = 2*R fused tokens (R without topology).
"""

from __future__ import annotations

import math
from typing import TypedDict, Unpack, cast

import torch
from torch import Tensor, nn

from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.backbones.graphs.encoder import EncoderLayer
from lorkit.decompose.models.backbones.graphs.tokens import (
    LabelDropout,
    NodeShape,
    TokenEmbedding,
    group_tokens,
    node_shape,
)
from lorkit.decompose.models.backbones.stages import SequentialStages, StageFunction, runs_of


class Fusion(nn.Module):
    """Attention of one head over the tokens of both encoders, then a linear layer from all of them.

    Args:
        tokens: U.
        width: E.
        outputs: Width of the result.
    """

    def __init__(self, tokens: int, width: int, outputs: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(tokens * width, outputs)
        self.scale = 1 / math.sqrt(width)

    def forward(self, u_NUE: Tensor) -> Tensor:
        """Map tokens (N, U, E) to (N, outputs)."""
        weights_NUU = (self.query(u_NUE) @ self.key(u_NUE).transpose(1, 2) * self.scale).softmax(-1)
        return cast(Tensor, self.out((weights_NUU @ self.value(u_NUE)).flatten(1)))


class Topology(nn.Module):
    """A two-layer network for each relation, on the features propagated over 1 to K hops (as in SIGN).

    Args:
        shape: Sizes of a node.
        width: E.
        dropout: Between the layers.
    """

    def __init__(self, shape: NodeShape, width: int, dropout: float) -> None:
        super().__init__()
        inputs = shape.hops * shape.values
        self.relations = nn.ModuleList(
            nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width))
            for _ in range(shape.relations)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C + 2, R, K + 1, V) to one embedding of each relation, (N, R, E)."""
        propagated_NRI = x[:, -1, :, 1:].flatten(2)
        return torch.stack([network(propagated_NRI[:, r]) for r, network in enumerate(self.relations)], dim=1)


class Sizes(TypedDict, total=False):
    """The options of `Ragformer`."""

    width: int
    feedforward: int
    layers: int
    heads: int
    dropout: float
    topology_dropout: float
    label_dropout: float
    mixing: bool
    topology: bool
    fusion: bool
    group_sizes: bool


class Ragformer(nn.Module):
    """A headless RAGFormer: images of nodes to features. The defaults are the paper's sizes for YelpChi.

    Without mixing, topology and fusion it is GAGA (Wang et al. 2023).

    Args:
        shape: Sizes of a node.
        width: E.
        feedforward: Width of the feed-forward layers.
        layers: Of the transformer.
        heads: Of its attention; divides E.
        dropout: Of tokens and transformer.
        topology_dropout: Between the layers of the topology networks.
        label_dropout: Probability with which `LabelDropout` hides the labels around a node in training.
        mixing: Whether own tokens are mixed across relations.
        topology: Whether there are topology networks.
        fusion: Whether there is attention over the tokens of both encoders; else the features are their sum.
        group_sizes: Whether it sees the number of neighbours, and not their mean features alone.

    Attributes:
        feature_dim: R*E.
        head_name: Name of the module that `attach_head` replaces.

    Raises:
        UsageError: A size is below 1, the width is no multiple of the heads, or a dropout is no probability below 1.
    """

    head_name = "head"

    def __init__(
        self,
        shape: NodeShape,
        *,
        width: int = 64,
        feedforward: int = 256,
        layers: int = 4,
        heads: int = 4,
        dropout: float = 0.1,
        topology_dropout: float = 0.2,
        label_dropout: float = 0.1,
        mixing: bool = True,
        topology: bool = True,
        fusion: bool = True,
        group_sizes: bool = True,
    ) -> None:
        if min(width, feedforward, layers, heads) < 1 or width % heads:
            raise UsageError(
                f"a RAGFormer of {layers} layers of widths {width} and {feedforward} with {heads} heads",
                required="sizes of 1 or more, and a width that is a multiple of the heads",
                fix="change the layers, the widths or the heads",
            )
        if not all(0 <= value < 1 for value in (dropout, topology_dropout, label_dropout)):
            raise UsageError(
                f"a RAGFormer of dropout {dropout}, topology_dropout {topology_dropout}, label_dropout {label_dropout}",
                required="probabilities from 0 to below 1",
                fix="change the dropout",
            )
        super().__init__()
        self.feature_dim = shape.relations * width
        self.hide_labels = LabelDropout(label_dropout)
        self.group_sizes = group_sizes
        self.embedding = TokenEmbedding(shape, width, dropout)
        sizes = (shape.relations, width, feedforward, heads, dropout)
        self.layers = nn.Sequential(
            *(EncoderLayer(*sizes, mixing=mixing, own=layer == layers - 1) for layer in range(layers))
        )
        self.topology = Topology(shape, width, topology_dropout) if topology else None
        tokens = shape.relations * (2 if topology else 1)
        self.fusion = Fusion(tokens, width, self.feature_dim) if fusion else None
        self.head: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C + 2, R, K + 1, V) to features (N, R*E)."""
        tokens_NRTE, topology_NRE = self.embed(x)
        return self.pooled(self.layers(tokens_NRTE), topology_NRE)

    def embed(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the tokens (N, R, T, E) before the first layer, and the topology of each relation (N, R, E)."""
        x = self.hide_labels(x)
        if not self.group_sizes:
            x = torch.cat((x[..., :-1], torch.zeros_like(x[..., -1:])), -1)
        return self.embedding(group_tokens(x)), None if self.topology is None else self.topology(x)

    def pooled(self, own_NR1E: Tensor, topology_NRE: Tensor | None) -> Tensor:
        """Return the features (N, R*E) of the own tokens after the last layer and of the topology."""
        own_NRE = own_NR1E[:, :, 0]
        features = own_NRE.flatten(1)
        if self.fusion is not None:
            both_NUE = own_NRE if topology_NRE is None else torch.cat((own_NRE, topology_NRE), dim=1)
            features = features + self.fusion(both_NUE)
        elif topology_NRE is not None:
            features = features + topology_NRE.flatten(1)
        return cast(Tensor, self.head(features))


def ragformer(channels: int, image_size: tuple[int, ...], **sizes: Unpack[Sizes]) -> Ragformer:
    """Return a RAGFormer for images of nodes.

    With the default sizes, 2 classes, 3 relations, 2 hops and 32 features it has 462,656 parameters.

    Args:
        channels: C + 2.
        image_size: (R, K + 1, F + 1).
        sizes: As in `Ragformer`.

    Raises:
        UsageError: The image is not that of a node, or the sizes do not fit each other.
    """
    return Ragformer(node_shape(channels, image_size), **sizes)


def stages(network: Ragformer) -> SequentialStages:
    """Return its layers in four runs; with less than four layers, some stages repeat the grid before them."""
    runs = [network.layers[run] for run in runs_of(len(network.layers))]

    def first(x: Tensor) -> Tensor:
        tokens_NRTE, topology_NRE = network.embed(x)
        return _grid(runs[0](tokens_NRTE), topology_NRE)

    def later(run: nn.Module) -> StageFunction:
        def stage(grid: Tensor) -> Tensor:
            tokens_NRTE, topology_NRE = _parts(grid, network)
            return _grid(run(tokens_NRTE), topology_NRE)

        return stage

    return SequentialStages([first, *map(later, runs[1:])], lambda grid: network.pooled(*_parts(grid, network)))


def _grid(tokens_NRTE: Tensor, topology_NRE: Tensor | None) -> Tensor:
    every = tokens_NRTE if topology_NRE is None else torch.cat((tokens_NRTE, topology_NRE[:, :, None]), dim=2)
    return every.permute(0, 3, 1, 2)[..., None]


def _parts(grid: Tensor, network: Ragformer) -> tuple[Tensor, Tensor | None]:
    every = grid[..., 0].permute(0, 2, 3, 1)
    return (every, None) if network.topology is None else (every[:, :, :-1], every[:, :, -1])
