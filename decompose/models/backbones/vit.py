"""Vision transformers of Dosovitskiy et al. (2021) with separate q, k, v and out layers, to which experts can be added.

Stages: four equal runs of blocks, all on the grid of the patches.

Shapes: N images, S tokens (patches and one class token), D width, A heads.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.backbones.stages import Gridded
from lorkit.decompose.models.backbones.transformer_stages import TransformerStages


class Attention(nn.Module):
    """Multi-head self-attention from four linear layers.

    Args:
        width: D, a multiple of `heads`.
        heads: A.
        dropout: Of the attention weights, in training.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x_NSD: Tensor, asking_NQD: Tensor | None = None) -> Tensor:
        """Mix tokens: (N, S, D) to (N, S, D), or to (N, Q, D) for the tokens that ask, if these are fewer."""
        q = self._by_head(self.query(x_NSD if asking_NQD is None else asking_NQD))
        k, v = (self._by_head(layer(x_NSD)) for layer in (self.key, self.value))
        mixed_NASE = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return cast(Tensor, self.out(mixed_NASE.transpose(1, 2).flatten(2)))

    def _by_head(self, x_NSD: Tensor) -> Tensor:
        return x_NSD.view(*x_NSD.shape[:2], self.heads, -1).transpose(1, 2)


class EncoderBlock(nn.Module):
    """Attention and a two-layer perceptron, each after a layer norm and with a residual connection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x_NSD: Tensor) -> Tensor:
        """Map tokens (N, S, D) to (N, S, D)."""
        x = x_NSD + self.attention(self.norm1(x_NSD))
        return cast(Tensor, x + self.mlp(self.norm2(x)))


class VisionTransformer(nn.Module):
    """A headless vision transformer: images of one size to the features of their class token.

    Attributes:
        feature_dim: F, the width D.
        head_name: Name of the module that `attach_head` replaces.
    """

    head_name = "head"

    def __init__(
        self, *, channels: int, image_size: tuple[int, ...], width: int, heads: int, depth: int, patch: int
    ) -> None:
        super().__init__()
        tokens = 1
        for size in image_size:
            tokens *= size // patch
        self.patches = nn.Conv2d(channels, width, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.empty(1, tokens + 1, width))
        self.blocks = nn.Sequential(*(EncoderBlock(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head: nn.Module = nn.Identity()
        self.feature_dim = width
        nn.init.trunc_normal_(self.position, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Map images (N, C, H, W) to features (N, F)."""
        return self.pooled(self.blocks(self.tokens(self.patches(x_NCHW))))

    def tokens(self, patches_NDHW: Tensor) -> Tensor:
        """Return the tokens (N, S, D) of embedded patches, the class token first, at their positions."""
        tokens_NSD = patches_NDHW.flatten(2).transpose(1, 2)
        first_N1D = self.class_token.expand(tokens_NSD.shape[0], -1, -1)  # len() would fix the batch
        return torch.cat((first_N1D, tokens_NSD), dim=1) + self.position

    def pooled(self, x_NSD: Tensor) -> Tensor:
        """Return the features (N, F) of the last block's tokens."""
        return cast(Tensor, self.head(self.norm(x_NSD)[:, 0]))


def patch_size(image_size: tuple[int, ...]) -> int:
    """Return a patch size with at least six tokens per side: 16 from 112 pixels, 8 from 48, else 4.

    Raises:
        UsageError: A side is not a multiple of it.
    """
    patch = next((patch for patch, least in ((16, 112), (8, 48)) if min(image_size) >= least), 4)
    if any(size % patch for size in image_size):
        raise UsageError(
            f"image size {'x'.join(map(str, image_size))} for a transformer",
            required=f"sides that are multiples of its patch of {patch} pixels",
            fix="change image.size",
        )
    return patch


def vit_tiny(channels: int, image_size: tuple[int, ...]) -> VisionTransformer:
    """Width 192, 12 blocks, 3 heads."""
    patch = patch_size(image_size)
    return VisionTransformer(channels=channels, image_size=image_size, width=192, heads=3, depth=12, patch=patch)


def vit_small(channels: int, image_size: tuple[int, ...]) -> VisionTransformer:
    """Width 384, 12 blocks, 6 heads."""
    patch = patch_size(image_size)
    return VisionTransformer(channels=channels, image_size=image_size, width=384, heads=6, depth=12, patch=patch)


def stages(network: VisionTransformer, *, dense: bool = False) -> Gridded:
    """Return its blocks in stages; with `dense` the features are those of patches."""

    def embed(x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        patches = network.patches(x)
        return network.tokens(patches), tuple(patches.shape[2:])

    blocks = list(network.blocks)
    return TransformerStages(blocks, 1, embed=embed, norm=network.norm, pool=network.pooled, by_token=True, dense=dense)
