"""`taps`: the shared operation, one product with all kernel taps of the down factor, a shifted sum, one product up.

No input is unfolded or copied, and regions share two batched products: the choice for wide layers and many regions.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor

from lorkit.decompose.experts.algebra import transformed
from lorkit.decompose.experts.strategies import device_costs, segments
from lorkit.decompose.experts.strategies.base import Work, flat, unflat
from lorkit.decompose.experts.strategies.geometry import Load, Site, Sizes


class Taps:
    """Low-rank path through (positions, r * taps) products."""

    name = "taps"

    def refusal(self, site: Site) -> str | None:
        """Refuse what is no sum over shifted taps of the input."""
        if site.layout != "conv":
            return "layout 'reshape' has no low-rank path"
        if site.kind == "transposed":
            return "a transposed convolution widens before it spreads"
        if not site.zeros:
            return "the border is not padded with zeros"
        return None

    def run(self, work: Work, x: Tensor) -> Tensor:
        """Compute base(x) + up(sum of shifted taps)."""
        site = work.site
        y = work.base(x)
        spatial, outside = site.spatial(tuple(x.shape)), site.spatial(tuple(y.shape))
        if site.pointwise and any(step > 1 for step in site.stride):
            x, spatial = x[(slice(None), slice(None), *(slice(None, None, step) for step in site.stride))], outside
        x_PI = flat(site, x)
        taps_TCI = work.stack_downs().flatten(1, -2)  # (T, r * taps, I), a view
        low_PC = segments.multiply(x_PI, taps_TCI, work.positions(len(x_PI) // len(x)), work.equal)
        if not site.pointwise:
            z = low_PC.view(len(x), *spatial, -1, *site.kernel)
            low_PC = gather_taps(z, site).flatten(0, -2)
        y_PO = flat(site, y)
        counts = work.positions(len(y_PO) // len(y))
        return unflat(site, segments.add_product(y_PO, low_PC, work.stack_ups(), counts, work.equal), outside, y)

    def macs(self, site: Site, load: Load) -> int:
        """Count every tap at every input position, then the product up."""
        entered = load.pixels_out if site.pointwise else load.pixels_in
        return site.rank * (entered * site.inputs * site.taps + load.pixels_out * site.outputs)

    def seconds(self, site: Site, load: Load) -> float:
        """Price two products, the shifted sum, and a pass over input and output."""
        price = device_costs.of(load)
        wide = 0 if site.pointwise else load.pixels_in * site.rank * site.taps
        passed = load.pixels_in * site.inputs + load.pixels_out * site.outputs
        factors = load.regions * site.rank * site.inputs * site.taps
        calls = 20 + (0 if site.pointwise else 4 * site.taps) + (0 if load.equal else 6 * load.regions)
        return price.time(macs=3 * self.macs(site, load), shuffled=wide, passed=passed, factors=factors, calls=calls)


# one tap: where it adds to (L, *S'), where it reads from (L, *S, r, *K)
_Index = tuple[slice | int, ...]
_Tap = tuple[_Index, _Index]


def gather_taps(z_LSrK: Tensor, site: Site) -> Tensor:
    """Sum the taps of a convolution at their shifted positions: (L, *S, r, *K) to (L, *S', r).

    Linear and differentiable any number of times; half precision is summed in float32.
    """
    return _gather(z_LSrK, site, tuple(z_LSrK.shape[1 : 1 + len(site.kernel)]))


def _gather(z: Tensor, site: Site, spatial: Sizes) -> Tensor:
    return _sum(z, site, spatial) if transformed() else cast(Tensor, cast(Any, _Gather).apply(z, site, spatial))


def _scatter(low: Tensor, site: Site, spatial: Sizes) -> Tensor:
    return _spread(low, site, spatial) if transformed() else cast(Tensor, cast(Any, _Scatter).apply(low, site, spatial))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, site: Site, spatial: Sizes) -> Tensor:
        ctx.site, ctx.spatial = site, spatial
        return _sum(z, site, spatial)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _scatter(gradients[0], ctx.site, ctx.spatial), None, None


class _Scatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, low: Tensor, site: Site, spatial: Sizes) -> Tensor:
        ctx.site, ctx.spatial = site, spatial
        return _spread(low, site, spatial)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _gather(gradients[0], ctx.site, ctx.spatial), None, None


def _sum(z: Tensor, site: Site, spatial: Sizes) -> Tensor:
    shape = (len(z), *site.output(spatial), z.shape[1 + len(spatial)])
    low = z.new_zeros(shape, dtype=torch.promote_types(z.dtype, torch.float32))
    for into, source in _taps(site, spatial):
        low[into] += z[source]
    return low.to(z.dtype)


def _spread(low: Tensor, site: Site, spatial: Sizes) -> Tensor:
    z = low.new_zeros((len(low), *spatial, low.shape[-1], *site.kernel))
    for into, source in _taps(site, spatial):
        z[source] = low[into]
    return z


@lru_cache(maxsize=4096)
def _taps(site: Site, spatial: Sizes) -> tuple[_Tap, ...]:
    """List the taps that reach the input at all, with the slices of rows and positions that they connect."""
    axes = zip(spatial, site.output(spatial), site.kernel, site.stride, site.before, site.dilation, strict=True)
    lines = [
        [(tap, *_reach(size, out, s, d * tap - before)) for tap in range(k)] for size, out, k, s, before, d in axes
    ]
    found: list[_Tap] = []
    for combination in itertools.product(*lines):
        if all(into.stop > into.start for _, into, _ in combination):
            into: _Index = (slice(None), *(one for _, one, _ in combination))
            reads = (one for _, _, one in combination)
            found.append((into, (slice(None), *reads, slice(None), *(tap for tap, _, _ in combination))))
    return tuple(found)


def _reach(size: int, out: int, stride: int, offset: int) -> tuple[slice, slice]:
    """Return the outputs p with 0 <= stride * p + offset < size, and those inputs."""
    first = max(0, -(offset // stride))
    last = min(out, (size - 1 - offset) // stride + 1)
    if last <= first:
        return slice(0, 0), slice(0, 0)
    start = stride * first + offset
    return slice(first, last), slice(start, start + stride * (last - first - 1) + 1, stride)
