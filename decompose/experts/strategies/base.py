"""The interface of a strategy to compute an expert layer.

Each file of this package defines one subclass; the package lists an instance of it.

Shapes: L rows grouped by region, T regions, I and O channels, r rank, k kernel sizes, P positions (rows x pixels).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from lorkit.decompose.experts.algebra import Base, transformed
from lorkit.decompose.experts.strategies.geometry import Kind, LayerGeometry, Sizes, Workload
from lorkit.decompose.experts.strategies.packed_factors import Pack


@dataclass(frozen=True, kw_only=True)
class LayerInputs:
    """One forward pass: the layer, and the factors, scale and rows of each region in the batch.

    Attributes:
        geometry: Geometry.
        base: The layer.
        downs: First factors.
        ups: Second factors, unscaled.
        scales: alpha / rank.
        rows: Rows of each region; the input is grouped in this order.
        equal: Whether all of them are equal.
        packed_downs: The pack of the first factors, if the layer has one.
        packed_ups: The pack of the second factors.
    """

    geometry: LayerGeometry
    base: Base
    downs: Sequence[Tensor]
    ups: Sequence[Tensor]
    scales: Sequence[float]
    rows: Sizes
    equal: bool = True
    packed_downs: Pack | None = None
    packed_ups: Pack | None = None

    @property
    def widest(self) -> int:
        """The highest rank in the batch, to which stacked factors are padded with zeros."""
        return max(len(down) for down in self.downs)

    def stack_downs(self) -> Tensor:
        """Return (T, r, ...) of first factors with the channels last: (T, r, *k, I), of transposed ones (T, r, I)."""
        packed = self.packed_downs.stack(self.downs) if self.packed_downs else None
        if packed is not None:
            return packed.movedim(2, -1)
        return stacked([pad_rank(down.movedim(1, -1), 0, self.widest) for down in self.downs])

    def stack_plain_downs(self) -> Tensor:
        """Return (T, r, ...) of first factors in their own order of axes."""
        return self._stack(self.downs, self.packed_downs, axis=0)

    def stack_ups(self) -> Tensor:
        """Return (T, O, r) of scaled second factors, in layout `reshape` (T, O * k0, r * k0)."""
        return scaled(self._stack(self.ups, self.packed_ups, axis=1), self.scales)

    def stack_wide_ups(self) -> Tensor:
        """Return (T, r, O, *k) of scaled second factors of transposed convolutions."""
        return scaled(self._stack(self.ups, self.packed_ups, axis=0), self.scales)

    def _stack(self, factors: Sequence[Tensor], pack: Pack | None, axis: int) -> Tensor:
        packed = pack.stack(factors) if pack else None
        return stacked([pad_rank(factor, axis, self.widest) for factor in factors]) if packed is None else packed

    def positions(self, per_row: int) -> Sizes:
        """Return the positions of each region for a number of positions per row."""
        return tuple(count * per_row for count in self.rows)


class Strategy:
    """A strategy to compute base(x) + s * up(down(x)) with the factors of each row.

    Attributes:
        name: Name in the configuration.
        refused: Reasons by kind of layer, of kinds that it cannot compute.
        any_border: Whether the border may be padded with other values than zeros.
    """

    name: str
    refused: Mapping[Kind, str] = MappingProxyType({})
    any_border = False

    def refusal(self, geometry: LayerGeometry) -> str | None:
        """Return the reason why this strategy cannot compute a layer, or None."""
        if geometry.layout != "conv":
            return "layout 'reshape' has no low-rank path"
        if not (geometry.zeros or self.any_border):
            return "the border is not padded with zeros"
        return self.refused.get(geometry.kind)

    def run(self, inputs: LayerInputs, x: Tensor) -> Tensor:
        """Compute the layer; `x` (L, ...) is grouped by region as in `inputs.rows`."""
        raise NotImplementedError

    def macs(self, geometry: LayerGeometry, workload: Workload) -> int:
        """Return the multiply-accumulates of one forward pass, without those of the base: by default down, then up."""
        if geometry.kind == "transposed":
            return geometry.rank * workload.pixels_in * (geometry.inputs + geometry.outputs * geometry.taps)
        return geometry.rank * workload.pixels_out * (geometry.inputs * geometry.taps + geometry.outputs)

    def seconds(self, geometry: LayerGeometry, workload: Workload) -> float:
        """Estimate the time of forward and backward, without that of the base."""
        raise NotImplementedError


def strided(geometry: LayerGeometry, x: Tensor) -> Tensor:
    """Return the positions of `x` that a pointwise layer uses."""
    if all(step == 1 for step in geometry.stride):
        return x
    return x[(slice(None), slice(None), *(slice(None, None, step) for step in geometry.stride))]


def flat(geometry: LayerGeometry, x: Tensor) -> Tensor:
    """Return (P, C): positions by channels; a view of linear inputs and of channels-last images."""
    last = x if geometry.kind == "linear" else x.movedim(1, -1)
    return last.reshape(-1, last.shape[-1])


def unflat(geometry: LayerGeometry, y_PC: Tensor, spatial: Sizes, like: Tensor) -> Tensor:
    """Undo `flat` in the memory format of `like`."""
    y = y_PC.view(len(like), *spatial, y_PC.shape[1])
    if geometry.kind == "linear":
        return y
    y = y.movedim(-1, 1)
    # the network may use `view`, as with contiguous images
    return y.contiguous() if like.is_contiguous() and not y.is_contiguous() else y


def stacked(factors: Sequence[Tensor]) -> Tensor:
    """Stack the factors of T regions so that their gradients are slices of one contiguous tensor.

    Autograd uses such slices as they are; others it would copy one by one, T times per layer.
    """
    return with_contiguous_gradient(torch.stack(list(factors)))


def with_contiguous_gradient(x: Tensor) -> Tensor:
    """Return the same tensor with a contiguous gradient."""
    return x if transformed() else cast(Tensor, cast(Any, _ContiguousGradient).apply(x))


def scaled(stack: Tensor, scales: Sequence[float]) -> Tensor:
    """Multiply each region's entry by its scale."""
    if len(set(scales)) == 1:
        return stack if scales[0] == 1 else stack * scales[0]
    return stack * stack.new_tensor(scales).view(-1, *(1,) * (stack.dim() - 1))


class _ContiguousGradient(torch.autograd.Function):
    """The identity, whose gradient is contiguous."""

    @staticmethod
    def forward(ctx: Any, stack: Tensor) -> Tensor:
        return stack.view_as(stack)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].contiguous()


def full_precision(device: torch.device) -> AbstractContextManager[None]:
    """Switch autocast off, on devices that have it (the meta device has not)."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def pad_rank(factor: Tensor, axis: int, size: int) -> Tensor:
    """Pad a factor with zeros along its rank."""
    missing = size - factor.shape[axis]
    if not missing:
        return factor
    return F.pad(factor, (*(0, 0) * (factor.dim() - 1 - axis), 0, missing))
