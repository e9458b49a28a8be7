"""Gated layers in the factor layout `reshape`, as two convolutions without building updates and without zero padding.

The layout views the product of the factors, rows (o, p) and columns of a p-th part of the patch, as a kernel: the rows
of the flattened patch (channels, k0, K') are cut into k0 blocks of C rows, and output o adds for each block p what the
factors give: y_o = sum over p, q of up[o * k0 + p, q] * (down[q] . block_p). Stage one applies `down` to every block,
stage two is a 1 x 1 convolution with `up`.

If k0 divides C, a block is C / k0 whole channels: blocks are folded into the batch, with one small kernel for all. Else
blocks begin and end within a channel: a grouped convolution runs on the channels that each block touches, at most one
more than its share.

Shapes: N samples, k0 the first side of the kernel and K' the product of the others, C input and O output channels
(swapped for transposed convolutions, whose second stage has the blocks), R the sum of ranks, Q = R * k0, n channels of
a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lorkit.decompose.experts.algebra import TRANSPOSED, Base
from lorkit.decompose.models.mixtures.gates import Gates
from lorkit.decompose.models.mixtures.layers import GatedLayer, channels, gated_channels, like, owners


class Blocks(NamedTuple):
    """The k0 blocks of a patch of C channels with k0 rows each.

    Attributes:
        parts: k0.
        width: n, the channels that a block is read from.
        starts: First channel of each block.
        offsets: Rows before the block in its channels.
    """

    parts: int
    width: int
    starts: tuple[int, ...]
    offsets: tuple[int, ...]

    @property
    def folds(self) -> bool:
        """Whether blocks are whole channels, one after the other."""
        return self.width * self.parts == self.starts[-1] + self.width


def blocks_of(total: int, count: int) -> Blocks:
    """Return the blocks of `total` channels with `count` rows each."""
    first = [block * total // count for block in range(count)]
    width = max(-(-(block + 1) * total // count) - start for block, start in enumerate(first))
    starts = [min(start, total - width) for start in first]
    offsets = [block * total - start * count for block, start in enumerate(starts)]
    return Blocks(count, width, tuple(starts), tuple(offsets))


class BlocksLayer(GatedLayer):
    """The base, and beside it the factors of layout `reshape` of all adapters."""

    owner: Tensor
    picked: Tensor | None

    def __init__(self, base: nn.Module, ranks: Sequence[int], gates: Gates) -> None:
        super().__init__(base, ranks, gates)
        layer = cast(Base, base)
        inputs, outputs = channels(layer)
        self.base, self.transposed = base, type(layer) in TRANSPOSED
        count = layer.weight.shape[2]
        self.blocks = blocks_of(layer.weight.shape[1], count)
        low, width, groups = sum(ranks) * count, self.blocks.width, 1
        if not self.blocks.folds:
            low, width, groups = low * count, width * count, count
        total = sum(ranks) * count * count
        if self.transposed:
            self.down, self.up = like(layer, inputs, total, kernel=False), like(layer, low, width, groups=groups)
        else:
            self.down, self.up = like(layer, width, low, groups=groups), like(layer, total, outputs, kernel=False)
        self.register_buffer("owner", owners([rank * count for rank in ranks], count, layer.weight))
        gathers = not (self.transposed or self.blocks.folds)
        self.register_buffer("picked", self._channels() if gathers else None)

    def forward(self, x: Tensor) -> Tensor:
        """Run base, blocks, gates and the sum over blocks."""
        if self.transposed:
            low = gated_channels(self.down(x), self, self.owner, last=False)
            return cast(Tensor, self.base(x) + self._scattered(low))
        low = gated_channels(self._low(x), self, self.owner, last=False)
        return cast(Tensor, self.base(x) + self.up(low))

    def load_factors_(self, downs: Sequence[Tensor], ups: Sequence[Tensor], scales: Sequence[float]) -> None:
        """Copy the factors of the adapters, (r_m * k0, C * K') and (O * k0, r_m * k0), and their scales."""
        count = self.blocks.parts
        down_QB = torch.cat(list(downs))
        scaled = [(up * scale).view(-1, count, up.shape[1]) for up, scale in zip(ups, scales, strict=True)]
        up_OR = torch.cat(scaled, 2).flatten(1)
        kernel, channel = (self.up, self.down) if self.transposed else (self.down, self.up)
        _copy(channel, up_OR.T if self.transposed else up_OR)
        parts = [self._kernel(down_QB, offset) for offset in self.blocks.offsets[: 1 if self.blocks.folds else None]]
        _copy(kernel, torch.cat(parts))

    def _kernel(self, down_QB: Tensor, offset: int) -> Tensor:
        """Return kernels (Q, n * k0 * K') of a block whose channels hold `offset` rows before it."""
        row = down_QB.shape[1] // self._total
        rows = self.blocks.width * self.blocks.parts
        return F.pad(down_QB, (offset * row, (rows - offset - self._total) * row))

    @property
    def _total(self) -> int:
        return self.blocks.starts[-1] + self.blocks.width

    def _channels(self) -> Tensor:
        return torch.cat([torch.arange(start, start + self.blocks.width) for start in self.blocks.starts])

    def _low(self, x: Tensor) -> Tensor:
        """Return (N, k0 * Q, *S): `down` on every block."""
        if self.picked is not None:
            return cast(Tensor, self.down(x.index_select(1, self.picked)))
        folded = self.down(x.reshape(-1, self.blocks.width, *x.shape[2:]))
        return cast(Tensor, folded.reshape(x.shape[0], -1, *folded.shape[2:]))

    def _scattered(self, low: Tensor) -> Tensor:
        """Return (N, O, *S): `up` of every block, added where blocks meet within a channel."""
        if self.blocks.folds:
            folded = self.up(low.reshape(-1, low.shape[1] // self.blocks.parts, *low.shape[2:]))
            return cast(Tensor, folded.reshape(low.shape[0], -1, *folded.shape[2:]))
        parts = self.up(low).chunk(self.blocks.parts, 1)
        sides = [(start, self._total - start - self.blocks.width) for start in self.blocks.starts]
        flat = (0, 0) * (low.dim() - 2)
        padded = [F.pad(part, (*flat, *side)) for part, side in zip(parts, sides, strict=True)]
        return torch.stack(padded).sum(0)


def _copy(layer: nn.Module, value: Tensor) -> None:
    weight = cast(Tensor, layer.weight)
    weight.copy_(value.reshape(weight.shape))
