"""The plan of one batch: which rows belong to which expert.

Shapes: N samples of the batch, T regions, L = k*N rows of a layer's input (k windows or tokens per sample, batch
outermost).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from lorkit.decompose.errors import DataError
from lorkit.decompose.experts.algebra import transformed

RegionSelection = Tensor | str | None


@dataclass(frozen=True, eq=False)
class BatchRouting:
    """The rows of one batch by region.

    Attributes:
        source: Argument of `Routing.use`.
        regions: Indices of the regions in the batch, ascending; empty if no expert is in use.
        counts: Rows of each of them; empty if one region owns every row, however many there are.
        order: (N,) permutation that groups the rows by region, or None if they are grouped.
        inverse: (N,) permutation that undoes `order`.
        presorted: The caller has applied `order`, so layers get grouped rows.
        gates: (N, T) soft weights instead of one region per row.
        samples: N, the sum of `counts`.
        threads: CPU threads at the start of the batch.
        equal: Whether all regions present have equally many rows. Computed here, as `samples` and `threads`, because a
            compiler with variable counts cannot trace it.
        version: torch's counter of in-place changes to `source` at the time of the plan; None if it has none.
    """

    source: RegionSelection
    regions: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()
    order: Tensor | None = None
    inverse: Tensor | None = None
    presorted: bool = False
    gates: Tensor | None = None
    samples: int = 0
    threads: int = 1
    equal: bool = True
    version: int | None = None

    @property
    def stale(self) -> bool:
        """Whether `source` was changed in place since the plan was made."""
        return self.version is not None and version_of(self.source) not in (None, self.version)

    @property
    def empty(self) -> bool:
        """Whether no expert is in use."""
        return not self.regions and self.gates is None

    def rows(self, x: Tensor, layer: str) -> tuple[int, ...]:
        """Return the number of rows of `x` (L, ...) of each of `regions`; raise DataError if L is no multiple of N."""
        if not self.counts:
            return (len(x),)
        repeat = self._repeat(x, self.samples, layer)
        return tuple(count * repeat for count in self.counts)

    def arrange(self, x: Tensor) -> Tensor:
        """Group the rows of `x` (L, ...) by region, unless they are grouped."""
        if self.order is None or self.presorted:
            return x
        return self._permuted(x, self.order, self.inverse)

    def split(self, x: Tensor, layer: str) -> list[tuple[int, Tensor]]:
        """Return (region index, its rows) for each region of the batch; views if the rows are grouped.

        Args:
            x: (L, ...) with L a multiple of N and the batch outermost.
            layer: Name of the calling layer, for the error.

        Raises:
            DataError: L is no multiple of N.
        """
        rows = self.rows(x, layer)
        return list(zip(self.regions, torch.split(self.arrange(x), list(rows)), strict=True))

    def rearrange(self, y: Tensor) -> Tensor:
        """Undo `arrange`."""
        if self.inverse is None or self.presorted:
            return y
        return self._permuted(y, self.inverse, self.order)

    def group(self, x: Tensor) -> Tensor:
        """Apply `order` to the N rows of `x`, as callers of a presorted plan must."""
        return x if self.order is None else x.index_select(0, self.order.to(x.device))

    def restore(self, x: Tensor) -> Tensor:
        """Undo `group`."""
        return x if self.inverse is None else x.index_select(0, self.inverse.to(x.device))

    def gates_for(self, x: Tensor, layer: str) -> Tensor:
        """Return the soft weights (L, T) of the rows of `x`."""
        assert self.gates is not None
        repeat = self._repeat(x, len(self.gates), layer)
        return self.gates.repeat_interleave(repeat, 0) if repeat > 1 else self.gates

    @staticmethod
    def _permuted(x: Tensor, order: Tensor, inverse: Tensor | None) -> Tensor:
        repeat = len(x) // len(order)
        assert inverse is not None
        if transformed() or torch.compiler.is_compiling():
            return x.index_select(0, _rows(order, repeat, x))
        return cast(Tensor, cast(Any, _Permutation).apply(x, _rows(order, repeat, x), _rows(inverse, repeat, x)))

    @staticmethod
    def _repeat(x: Tensor, samples: int, layer: str) -> int:
        if len(x) % samples or len(x) == 0:
            raise DataError(
                f"layer '{layer}' got {len(x)} rows for {samples} routed samples",
                required="a multiple of the samples, with the batch outermost",
                fix="route as many samples as the batch has, or exclude this layer with `select`",
            )
        return len(x) // samples


class _Permutation(torch.autograd.Function):
    """Rows in another order, in the memory format of the input.

    The gradient is the inverse permutation; that of `index_select` fills a map with zeros and adds to it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(order, inverse)
        if x.dim() < 3 or x.is_contiguous() or not x.movedim(1, -1).is_contiguous():
            return x.index_select(0, order)
        y = torch.empty_like(x)  # not a view, which the network could not change in place
        torch.index_select(x.movedim(1, -1), 0, order, out=y.movedim(1, -1))
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        order, inverse = ctx.saved_tensors
        return cast(Tensor, cast(Any, _Permutation).apply(gradients[0], inverse, order)), None, None


def version_of(ids: RegionSelection) -> int | None:
    """Return torch's counter of in-place changes; compilers and inference mode have none."""
    if not isinstance(ids, Tensor) or torch.compiler.is_compiling() or ids.is_inference():
        return None
    return ids._version


def _rows(order: Tensor, repeat: int, x: Tensor) -> Tensor:
    """Extend a permutation of N samples to their k*N rows, on the device of `x`."""
    order = order.to(x.device)
    if repeat == 1:
        return order
    return (order[:, None] * repeat + torch.arange(repeat, device=order.device)).flatten()
