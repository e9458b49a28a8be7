"""Gated layers: a layer with the updates of M adapters, gated by sample, in plain operations of any runtime.

Shapes: N samples, M adapters, O output and C input channels of a layer, K its kernel, r_m the rank of an adapter, R the
sum of the ranks, S positions. Gates of a sample sum to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from lorkit.decompose.experts.algebra import TRANSPOSED, Base
from lorkit.decompose.models.mixtures.gates import Gates


class GatedLayer(nn.Module):
    """Base class of gated layers.

    Args:
        base: The plain layer that it replaces.
        ranks: Of the adapters.
        gates: Of the batch.
    """

    def __init__(self, base: nn.Module, ranks: Sequence[int], gates: Gates) -> None:
        super().__init__()
        self.ranks, self.gates = tuple(ranks), gates
        del base

    def forward(self, x: Tensor) -> Tensor:
        """Run the layer with each sample's adapters; rows (L, ...) are samples, or k of them in turn."""
        raise NotImplementedError


def like(base: Base, inputs: int, outputs: int, *, kernel: bool = True, groups: int = 1) -> nn.Module:
    """Return a layer of the kind of `base` without bias, with other channels.

    Args:
        base: The layer.
        inputs: Input channels.
        outputs: Output channels.
        kernel: Whether it has the kernel, stride, padding and dilation of `base`, else it mixes channels at a position.
        groups: Of its channels.
    """
    own: dict[str, Any] = {"bias": False, "device": base.weight.device, "dtype": base.weight.dtype}
    if isinstance(base, nn.Linear):
        return nn.Linear(inputs, outputs, **own)
    if not kernel:
        return _POINTWISE[base.weight.dim() - 2](inputs, outputs, 1, **own)
    own |= {"stride": base.stride, "padding": base.padding, "dilation": base.dilation, "groups": groups}
    if type(base) in TRANSPOSED:
        own["output_padding"] = base.output_padding
    return type(base)(inputs, outputs, base.kernel_size, padding_mode=base.padding_mode, **own)  # type: ignore[arg-type]


_POINTWISE: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def channels(base: Base) -> tuple[int, int]:
    """Return the input and output channels of a layer."""
    if isinstance(base, nn.Linear):
        return base.in_features, base.out_features
    return base.in_channels, base.out_channels


def gated_channels(low: Tensor, layer: GatedLayer, owner_MR: Tensor, *, last: bool) -> Tensor:
    """Multiply the channels between two factors by the gates of the adapters that they belong to.

    Args:
        low: (L, R, *S), or (L, ..., R) if channels are `last`.
        layer: Of the channels.
        owner_MR: 1 where a channel is of an adapter, else 0.
        last: Whether channels are the last axis.
    """
    if layer.gates.alone:
        return low
    key = (tuple(owner_MR.shape), layer.ranks, low.dim(), last)
    middle = (1,) * (low.dim() - 2)
    table = owner_MR.view(len(owner_MR), *middle, -1) if last else owner_MR.view(*owner_MR.shape, *middle)
    return low * layer.gates.rows(table, low, key)


def owners(counts: Sequence[int], repeats: int, like: Tensor) -> Tensor:
    """Return (M, repeats * sum of counts): 1 where a channel is of an adapter, whose counts are repeated."""
    owner_MR = like.new_zeros(len(counts), sum(counts))
    end = 0
    for adapter, count in enumerate(counts):
        owner_MR[adapter, end : end + count] = 1.0
        end += count
    return owner_MR.repeat(1, repeats)


class LowRankLayer(GatedLayer):
    """The base, and beside it the factors of all adapters stacked along their ranks: y = base(x) + up(gates * down(x)).

    Two small layers instead of M updates: C*K*R + R*O multiply-accumulates per position.
    """

    owner: Tensor

    def __init__(self, base: nn.Module, ranks: Sequence[int], gates: Gates) -> None:
        super().__init__(base, ranks, gates)
        layer = cast(Base, base)
        inputs, outputs = channels(layer)
        transposed = type(layer) in TRANSPOSED
        self.base = base
        self.down = like(layer, inputs, sum(ranks), kernel=not transposed)
        self.up = like(layer, sum(ranks), outputs, kernel=transposed)
        self.register_buffer("owner", owners(ranks, 1, layer.weight))

    def forward(self, x: Tensor) -> Tensor:
        """Run base, down, gates and up."""
        low = gated_channels(self.down(x), self, self.owner, last=isinstance(self.base, nn.Linear))
        return cast(Tensor, self.base(x) + self.up(low))


class MixedLayer(GatedLayer):
    """A layer that mixes channels at each position, with a weight of its own for every sample.

    The table holds the adapted weights: (M, O, C) of convolutions, (M, C, O) of linear layers. It needs no second pass
    over the image, so it is faster than factors if there are many positions.
    """

    def __init__(self, base: nn.Module, ranks: Sequence[int], gates: Gates) -> None:
        super().__init__(base, ranks, gates)
        layer = cast(Base, base)
        inputs, outputs = channels(layer)
        self.linear, self.outputs = isinstance(layer, nn.Linear), outputs
        shape = (inputs, outputs) if self.linear else (outputs, inputs)
        self.table = nn.Parameter(layer.weight.new_empty(len(ranks), *shape))
        spatial = layer.weight.dim() - 2
        self.bias = None
        if layer.bias is not None:
            self.bias = nn.Parameter(layer.bias.new_empty(outputs, *(1,) * max(0, spatial)))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply each sample's positions by its weight."""
        if not self.linear:
            y = (self.gates.rows(self.table, x) @ x.flatten(2)).view(x.shape[0], self.outputs, *x.shape[2:])
        elif self.gates.alone:
            y = x @ self.table[0]
        else:
            weight = self.gates.mix(self.table)
            y = (x.reshape(weight.shape[0], -1, x.shape[-1]) @ weight).view(*x.shape[:-1], self.outputs)
        return y if self.bias is None else y + self.bias


class FullLayer(GatedLayer):
    """The base, and beside it one full-size update per adapter, for grouped layers and very small ones."""

    def __init__(self, base: nn.Module, ranks: Sequence[int], gates: Gates) -> None:
        super().__init__(base, ranks, gates)
        layer = cast(Base, base)
        inputs, outputs = channels(layer)
        self.base = base
        groups = getattr(layer, "groups", 1)
        self.updates = nn.ModuleList(like(layer, inputs, outputs, groups=groups) for _ in ranks)
        self.register_buffer("owner", torch.eye(len(ranks), dtype=layer.weight.dtype))

    owner: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Add each update times its gate."""
        if self.gates.alone:
            return cast(Tensor, self.base(x) + self.updates[0](x))
        gate_NM = self.gates.rows(self.owner, x, ("full", len(self.ranks)))
        y = self.base(x)
        for adapter, update in enumerate(self.updates):
            y = y + update(x) * gate_NM[:, adapter].view(-1, *(1,) * (y.dim() - 1))
        return cast(Tensor, y)
