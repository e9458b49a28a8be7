"""The tokens of a node: its own and those of its groups of neighbours, read from its image and embedded.

Shapes: N nodes, C classes, G = C + 1 groups of neighbours (one per class, the last those without a visible label),
R relations, K hops, V = F + 1 values (F mean features, and log(1 + size) of the group), T = 1 + K*G tokens per
relation, E width.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from lorkit.decompose.errors import UsageError


class NodeShape(NamedTuple):
    """The sizes of the image of a node.

    Attributes:
        classes: C.
        relations: R.
        hops: K.
        values: V.
    """

    classes: int
    relations: int
    hops: int
    values: int

    @property
    def tokens(self) -> int:
        """T."""
        return 1 + self.hops * (self.classes + 1)


def node_shape(channels: int, image_size: tuple[int, ...]) -> NodeShape:
    """Return the sizes of a node whose image has `channels` C + 2 and the size (R, K + 1, F + 1).

    Raises:
        UsageError: It has fewer than two classes, or no relation, hop or feature.
    """
    if channels < 4 or len(image_size) != 3 or min(image_size) < 1 or min(image_size[1:]) < 2:
        raise UsageError(
            f"images of {channels} channels and size {'x'.join(map(str, image_size))}, for a network of nodes",
            required="4 channels (classes + 2) or more, and a size of relations x (hops + 1) x (features + 1) with one "
            "of each or more",
            fix="give the data of a graph and 1 hop or more, or choose another backbone",
        )
    relations, hops, values = image_size
    return NodeShape(channels - 2, relations, hops - 1, values)


def group_tokens(x: Tensor) -> Tensor:
    """Return the tokens (N, R, T, V) of images (N, C + 2, R, K + 1, V).

    The first of each relation is the node's own, then follow the groups of each hop, the nearest hop first.
    """
    own_NR1V = x[:, -2, :, :1]
    groups_NRKGV = x[:, :-1, :, 1:].permute(0, 2, 3, 1, 4)
    return torch.cat((own_NR1V, groups_NRKGV.flatten(2, 3)), dim=2)


class LabelDropout(nn.Module):
    """In training, hides all labels around some nodes: their neighbours of all classes join those without a label.

    So a network also learns nodes without labelled neighbours, such as those of new entities. The mean and the size of
    the joint group are computed from the sizes in the last column. If these are all zero, because sizes are left out,
    the groups of the classes become empty, and the group without labels stays as it is.

    Args:
        probability: Of each node in each batch, from torch's global generator.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C + 2, R, K + 1, V) to the same, changed in training only."""
        if not self.training or not self.probability:
            return x
        hidden_N = torch.rand(x.shape[0], device=x.device) < self.probability
        return torch.where(hidden_N.view(-1, 1, 1, 1, 1), without_labels(x), x)


def without_labels(x: Tensor) -> Tensor:
    """Return images (N, C + 2, R, K + 1, V) whose neighbours of all classes are in the group without labels."""
    groups, propagated = x[:, :-1], x[:, -1:]
    sizes = groups[..., -1:].expm1()
    total = sizes.sum(1, keepdim=True)
    mean = (sizes * groups[..., :-1]).sum(1, keepdim=True) / total.clamp_min(1.0)
    joint = torch.where(total > 0, torch.cat((mean, total.log1p()), -1), groups[:, -1:])
    return torch.cat((torch.zeros_like(groups[:, :-1]), joint, propagated), 1)


# 0.02, as of word embeddings, left groups alike for many steps: AP of 0.29 in place of 0.41 on the payments of `init
# --graph` after 8 epochs, and the same on the real graphs
_ENCODING = 0.1


class TokenEmbedding(nn.Module):
    """Linear layer, ReLU, encodings of hop, relation and group, and dropout.

    The node's own token has hop 0 and the group without labels.
    """

    def __init__(self, shape: NodeShape, width: int, dropout: float) -> None:
        super().__init__()
        groups = shape.classes + 1
        self.linear = nn.Linear(shape.values, width)
        self.hops = nn.Parameter(torch.empty(shape.hops + 1, width))
        self.relations = nn.Parameter(torch.empty(shape.relations, 1, width))
        self.groups = nn.Parameter(torch.empty(groups, width))
        for table in (self.hops, self.relations, self.groups):
            nn.init.normal_(table, std=_ENCODING)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens_NRTV: Tensor) -> Tensor:
        """Map tokens (N, R, T, V) to (N, R, T, E)."""
        near_KGE = self.hops[1:, None] + self.groups
        encoding_TE = torch.cat((self.hops[:1] + self.groups[-1:], near_KGE.flatten(0, 1)))
        flat_NSE = self.linear(tokens_NRTV.flatten(1, 2)).relu()  # linear layers get the nodes as their first axis
        x_NRTE = flat_NSE.view(*tokens_NRTV.shape[:3], -1) + encoding_TE + self.relations
        return cast(Tensor, self.dropout(x_NRTE))
