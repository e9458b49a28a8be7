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
from lorkit.decompose.experts.batch_routing import BatchRouting, RegionSelection, version_of


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
        plan: That of the current scope.
    """

    regions: tuple[str, ...]
    wrapped: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    active: str | None = None
    experts_on: bool = True
    plan: BatchRouting | None = field(default=None, repr=False)

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
        before = self.plan
        reuse = before is not None and _holds(before, ids) and before.presorted == (sort and _is_ids(ids))
        routed = before if reuse and before is not None else self.route(ids, sort=sort)
        with self.within(routed):
            yield routed

    @contextmanager
    def within(self, plan: BatchRouting) -> Iterator[None]:
        """Use a plan inside the context."""
        before, self.plan = self.plan, plan
        try:
            yield
        finally:
            self.plan = before

    def open(self, gates: Tensor) -> None:
        """Use soft gates (N, T) until `close`, for callers whose scope outlives one forward pass."""
        self.plan = self.route(gates)

    def close(self) -> None:
        """End what `open` began."""
        self.plan = None

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
        if self.plan is not None:
            if self.plan.stale:
                raise UsageError(
                    f"layer '{layer}' ran with region ids or gates that were changed in place within their scope",
                    required="the ids that the scope was opened with",
                    fix="change a copy (ids.clone()), and open a scope for it",
                )
            return self.plan
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
            return BatchRouting(ids, gates=ids, version=version_of(ids))
        if not _is_ids(ids):
            raise self._bad(f"region ids of shape {tuple(ids.shape)} and type {ids.dtype}")
        host = ids.detach().cpu().long()
        if int(host.min()) < 0 or int(host.max()) >= len(self.regions):
            raise self._bad(f"region ids between {int(host.min())} and {int(host.max())}")
        counts = torch.bincount(host, minlength=len(self.regions)).tolist()
        threads = torch.get_num_threads()
        present = tuple(index for index, count in enumerate(counts) if count)
        if len(present) == 1:
            return BatchRouting(ids, present, presorted=sort, threads=threads, version=version_of(ids))
        grouped = bool((host[1:] >= host[:-1]).all())
        order = None if grouped else torch.argsort(host, stable=True).to(ids.device)
        inverse = None if order is None else torch.argsort(order)
        rows = tuple(counts[index] for index in present)
        equal, version = len(set(rows)) == 1, version_of(ids)
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
