"""Routing of the rows of a batch to experts, computed once per batch and shared by all expert layers.

Shapes: N samples of the batch, T regions, L = k*N rows of a layer's input (k windows or tokens per sample, batch
outermost).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lorkit.decompose.errors import DataError, UsageError, unknown

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
        return self.version is not None and _version(self.source) not in (None, self.version)

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
        return x.index_select(0, _rows(self.order, len(x) // len(self.order), x))

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
        return y.index_select(0, _rows(self.inverse, len(y) // len(self.inverse), y))

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
    def _repeat(x: Tensor, samples: int, layer: str) -> int:
        if len(x) % samples or len(x) == 0:
            raise DataError(
                f"layer '{layer}' got {len(x)} rows for {samples} routed samples",
                required="a multiple of the samples, with the batch outermost",
                fix="route as many samples as the batch has, or exclude this layer with `select`",
            )
        return len(x) // samples


@dataclass(eq=False)
class Routing:
    """Regions of a model, and the scope that assigns the rows of a batch to them.

    The training step opens the scope for forward *and* backward, because activation checkpointing runs the forward
    again in backward. Outside all scopes the active region applies; without one, layers raise an error instead of
    silently computing without expert. A deep copy starts outside all scopes.

    Attributes:
        regions: Names, in the order of their indices.
        wrapped: Names of the layers with experts.
        skipped: (name, reason) of other layers with weights.
    """

    regions: tuple[str, ...]
    wrapped: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    active: str | None = None
    experts_on: bool = True
    _scope: BatchRouting | None = field(default=None, repr=False)

    def __deepcopy__(self, memo: dict[int, Any]) -> Routing:
        """Copy without the scope of a batch, which belongs to the original's step."""
        copy = Routing(self.regions, self.wrapped, self.skipped, self.active)
        memo[id(self)] = copy
        return copy

    def index(self, region: str) -> int:
        """Return the index of a region; raise UsageError with the known ones."""
        if region not in self.regions:
            raise unknown("region", region, self.regions)
        return self.regions.index(region)

    def activate(self, region: str | None) -> None:
        """Switch a live model to one region until the next call (None: to no region)."""
        if region is not None:
            self.index(region)
        self.active = region

    @contextmanager
    def use(self, ids: RegionSelection, *, sort: bool = False) -> Iterator[BatchRouting]:
        """Route the rows of a batch inside the context.

        Args:
            ids: (N,) region indices, one region name for the whole batch, (N, T) soft gates, or None for the network
                without experts. The plan of the current scope is reused for the same object. A tensor must not be
                changed in place while its scope is open.
            sort: The caller groups the rows with the plan's `order` and undoes it with `inverse`.

        Raises:
            DataError: Indices out of range, or a shape that fits neither ids nor gates.
            UsageError: An unknown region.
        """
        before = self._scope
        reuse = before is not None and _holds(before, ids) and before.presorted == (sort and _is_ids(ids))
        routed = before if reuse and before is not None else self.route(ids, sort=sort)
        self._scope = routed
        try:
            yield routed
        finally:
            self._scope = before

    def open(self, gates: Tensor) -> None:
        """Use soft gates (N, T) until `close`, for callers whose scope outlives one forward pass."""
        self._scope = self.route(gates)

    def close(self) -> None:
        """End what `open` began."""
        self._scope = None

    @contextmanager
    def without_experts(self) -> Iterator[None]:
        """Switch the low-rank updates off; norms by region still follow the routing."""
        before, self.experts_on = self.experts_on, False
        try:
            yield
        finally:
            self.experts_on = before

    def current(self, layer: str) -> BatchRouting:
        """Return the current plan.

        Raises:
            UsageError: There is no scope and no active region, or the ids were changed since the scope was opened.
        """
        if self._scope is not None:
            if self._scope.stale:
                raise UsageError(
                    f"layer '{layer}' ran with region ids or gates that were changed in place within their scope",
                    required="the ids that the scope was opened with",
                    fix="change a copy (ids.clone()), and open a scope for it",
                )
            return self._scope
        if self.active is not None:
            return BatchRouting(self.active, (self.regions.index(self.active),))
        raise UsageError(
            f"layer '{layer}' ran without a region",
            required="a routing scope around forward and backward, or an active region",
            fix="use `with routing.use(ids): ...` or `activate(region)`",
        )

    def route(self, ids: RegionSelection, *, sort: bool = False) -> BatchRouting:
        """Group the rows of a batch by region; one transfer to the host for tensors on a device."""
        if ids is None:
            return BatchRouting(None)
        if isinstance(ids, str):
            return BatchRouting(ids, (self.index(ids),))
        if ids.is_floating_point():
            if ids.dim() != 2 or ids.shape[1] != len(self.regions):
                raise self._bad(f"soft gates of shape {tuple(ids.shape)}")
            return BatchRouting(ids, gates=ids, version=_version(ids))
        if not _is_ids(ids):
            raise self._bad(f"region ids of shape {tuple(ids.shape)} and type {ids.dtype}")
        host = ids.detach().cpu().long()
        if int(host.min()) < 0 or int(host.max()) >= len(self.regions):
            raise self._bad(f"region ids between {int(host.min())} and {int(host.max())}")
        counts = torch.bincount(host, minlength=len(self.regions)).tolist()
        threads = torch.get_num_threads()
        present = tuple(index for index, count in enumerate(counts) if count)
        if len(present) == 1:
            return BatchRouting(ids, present, presorted=sort, threads=threads, version=_version(ids))
        grouped = bool((host[1:] >= host[:-1]).all())
        order = None if grouped else torch.argsort(host, stable=True).to(ids.device)
        inverse = None if order is None else torch.argsort(order)
        rows = tuple(counts[index] for index in present)
        equal, version = len(set(rows)) == 1, _version(ids)
        return BatchRouting(ids, present, rows, order, inverse, sort, None, len(ids), threads, equal, version)

    def _bad(self, given: str) -> DataError:
        total = len(self.regions)
        return DataError(
            given,
            required=f"(N,) integers in 0..{total - 1}, or (N, {total}) floating-point gates",
            fix="map names to indices with the order of the regions",
        )


def _is_ids(ids: RegionSelection) -> bool:
    return (
        isinstance(ids, Tensor)
        and ids.dim() == 1
        and len(ids) > 0
        and not (ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool)
    )


def _holds(routed: BatchRouting, ids: RegionSelection) -> bool:
    return (routed.source is ids and not routed.stale) or (isinstance(routed.source, str) and routed.source == ids)


def _version(ids: RegionSelection) -> int | None:
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


def check_names(regions: Iterable[str]) -> tuple[str, ...]:
    """Return the names as a tuple; raise UsageError if they cannot be names of parameters.

    Names become keys of `nn.ParameterDict` and `nn.ModuleDict`, whose attributes ('keys', 'train') are reserved.
    """
    names = tuple(regions)
    if not names or len(set(names)) != len(names):
        raise UsageError(f"regions {list(names)}", required="one or more distinct names", fix="correct the list")
    for name in names:
        if "." in name or hasattr(torch.nn.ModuleDict, name) or hasattr(torch.nn.ParameterDict, name):
            raise UsageError(
                f"region name '{name}'",
                required="a name that is no attribute of torch modules",
                fix="rename the region",
            )
    return names
