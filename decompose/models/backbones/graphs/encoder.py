"""The semantic encoder of RAGFormer: transformer layers over all tokens, each followed by a mix of the own tokens.

Shapes: N nodes, R relations, T tokens per relation (the node's own first), S = R*T, E width.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from lorkit.decompose.models.backbones.vit import Attention


class EncoderLayer(nn.Module):
    """A layer of `nn.TransformerEncoderLayer` (norms last, ReLU), then the mix of the own tokens across relations.

    Its query, key, value and out layers are separate, so experts can be added to each.

    Args:
        relations: R.
        width: E.
        feedforward: Width between the two linear layers.
        heads: Of the attention; divides E.
        dropout: Of attention weights, of the hidden feed-forward layer, and before each sum.
        mixing: Whether own tokens are mixed: each relation's becomes a linear function of those of all relations. The
            linear functions of all relations are one layer, R*E to R*E.
        own: Whether only the own tokens are wanted, (N, R, 1, E), as after the last layer. Others are not computed.
    """

    def __init__(
        self, relations: int, width: int, feedforward: int, heads: int, dropout: float, *, mixing: bool, own: bool
    ) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout)
        self.enter, self.leave = nn.Linear(width, feedforward), nn.Linear(feedforward, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.mix = nn.Linear(relations * width, relations * width) if mixing else None
        self.own = own

    def forward(self, x_NRTE: Tensor) -> Tensor:
        """Map tokens (N, R, T, E) to (N, R, T, E), or to the own ones (N, R, 1, E)."""
        asking_NRQE = x_NRTE[:, :, :1] if self.own else x_NRTE
        x_NQE = self._transformed(x_NRTE.flatten(1, 2), asking_NRQE.flatten(1, 2))
        y_NRQE = x_NQE.view(asking_NRQE.shape)
        if self.mix is None:
            return y_NRQE
        own_NR1E: Tensor = self.mix(y_NRQE[:, :, 0].flatten(1)).view(y_NRQE[:, :, :1].shape)
        return own_NR1E if self.own else torch.cat((own_NR1E, y_NRQE[:, :, 1:]), dim=2)

    def _transformed(self, x_NSE: Tensor, asking_NQE: Tensor) -> Tensor:
        x = self.norm1(asking_NQE + self.dropout(self.attention(x_NSE, asking_NQE)))
        return cast(Tensor, self.norm2(x + self.dropout(self.leave(self.dropout(self.enter(x).relu())))))
