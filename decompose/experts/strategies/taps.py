"""`taps`: the shared operation, one product with all kernel taps of the down factor, a shifted sum, one product up.

No input is unfolded or copied, and regions share two batched products: the best choice for wide layers and many
regions.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor

from lorkit.decompose.experts.algebra import transformed
from lorkit.decompose.experts.strategies import segments
from lorkit.decompose.experts.strategies.base import LayerInputs, Strategy, flat, strided, unflat
from lorkit.decompose.experts.strategies.geometry import LayerGeometry, Sizes, Workload
from lorkit.decompose.experts.strategies.taps_node import taps_in_one_node, taps_node


class Taps(Strategy):
    """Low-rank updates through (positions, r * taps) products."""

    name = "taps"
    refused = MappingProxyType({"transposed": "a transposed convolution is not a sum over shifted inputs"})

    def run(self, inputs: LayerInputs, x: Tensor) -> Tensor:
        """Compute base(x) + up(sum of shifted taps)."""
        if taps_in_one_node(inputs, x):
            return taps_node(inputs, x, self._plain, (_sum, _spread))
        return self._plain(inputs, x)

    def _plain(self, inputs: LayerInputs, x: Tensor) -> Tensor:
        geometry = inputs.geometry
        y = inputs.base(x)
        spatial = geometry.spatial(tuple(x.shape))
        if geometry.pointwise:
            x = strided(geometry, x)
        x_PI = flat(geometry, x)
        taps_TCI = inputs.stack_downs().flatten(1, -2)  # (T, r * taps, I), a view
        low_PC = segments.multiply(x_PI, taps_TCI, inputs.positions(len(x_PI) // len(x)), inputs.equal)
        if not geometry.pointwise:
            z = low_PC.view(len(x), *spatial, -1, *geometry.kernel)
            low_PC = shift(z, geometry, spatial).flatten(0, -2)
        y_PO = flat(geometry, y)
        counts = inputs.positions(len(y_PO) // len(y))
        y_PO = segments.add_product(y_PO, low_PC, inputs.stack_ups(), counts, inputs.equal)
        return unflat(geometry, y_PO, geometry.spatial(tuple(y.shape)), y)

    def macs(self, geometry: LayerGeometry, workload: Workload) -> int:
        """Count every tap at every input position, then the product up."""
        entered = workload.pixels_out if geometry.pointwise else workload.pixels_in
        return geometry.rank * (entered * geometry.inputs * geometry.taps + workload.pixels_out * geometry.outputs)

    def seconds(self, geometry: LayerGeometry, workload: Workload) -> float:
        """Estimate two products, the shifted sum, and a pass over input and output."""
        wide = 0 if geometry.pointwise else workload.pixels_in * geometry.rank * geometry.taps
        passed = workload.pixels_in * geometry.inputs + workload.pixels_out * geometry.outputs
        factors = workload.regions * geometry.rank * geometry.inputs * geometry.taps
        calls = (80 if geometry.pointwise else 20 + 4 * geometry.taps) + (0 if workload.equal else 6 * workload.regions)
        return workload.costs.time(
            macs=3 * self.macs(geometry, workload), shuffled=wide, passed=passed, factors=factors, calls=calls
        )


# one tap: its target in (L, *S'), its source in (L, *S, r, *K)
_Index = tuple[slice | int, ...]
_Tap = tuple[_Index, _Index]


def shift(x: Tensor, geometry: LayerGeometry, spatial: Sizes, *, back: bool = False) -> Tensor:
    """Sum the taps of a convolution at their shifted positions: (L, *S, r, *K) to (L, *S', r), or the transpose.

    Linear and differentiable any number of times, since each is the other's gradient; half precision is summed in
    float32.
    """
    if transformed():
        return (_spread if back else _sum)(x, geometry, spatial)
    return cast(Tensor, cast(Any, _Shift).apply(x, geometry, spatial, back))


class _Shift(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, geometry: LayerGeometry, spatial: Sizes, back: bool) -> Tensor:
        ctx.geometry, ctx.spatial, ctx.back = geometry, spatial, back
        return (_spread if back else _sum)(x, geometry, spatial)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return shift(gradients[0], ctx.geometry, ctx.spatial, back=not ctx.back), None, None, None


def _sum(z: Tensor, geometry: LayerGeometry, spatial: Sizes) -> Tensor:
    shape = (len(z), *geometry.output(spatial), z.shape[1 + len(spatial)])
    low = z.new_zeros(shape, dtype=torch.promote_types(z.dtype, torch.float32))
    for into, source in _taps(geometry, spatial):
        low[into].add_(z[source])  # `+=` would also copy the slice onto itself
    return low.to(z.dtype)


def _spread(low: Tensor, geometry: LayerGeometry, spatial: Sizes) -> Tensor:
    z = low.new_zeros((len(low), *spatial, low.shape[-1], *geometry.kernel))
    for into, source in _taps(geometry, spatial):
        z[source] = low[into]
    return z


@lru_cache(maxsize=4096)
def _taps(geometry: LayerGeometry, spatial: Sizes) -> tuple[_Tap, ...]:
    """Return the taps that reach the input, with the slices of rows and positions that they connect."""
    windows = geometry.kernel, geometry.stride, geometry.before, geometry.dilation
    axes = zip(spatial, geometry.output(spatial), *windows, strict=True)
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
    """Return the outputs p with 0 <= stride * p + offset < size, and their inputs."""
    first = max(0, -(offset // stride))
    last = min(out, (size - 1 - offset) // stride + 1)
    if last <= first:
        return slice(0, 0), slice(0, 0)
    start = stride * first + offset
    return slice(first, last), slice(start, start + stride * (last - first - 1) + 1, stride)
