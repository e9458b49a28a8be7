"""A convolution to few channels as one matrix product: every kernel tap applied everywhere, then shifted and summed.

low[p] = sum over taps k of z[s p + d k - before, k], z[q, k] = x[q] @ down_k. With r channels between, z has r values a
tap and position: for wide layers less than the input itself, so no patch matrix of the input is ever built.

Shapes: L rows, S spatial sizes in, S' out, K kernel sizes, r channels.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor

from lorkit.decompose.experts.site import Site, Sizes
from lorkit.decompose.experts.transforms import transformed

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
