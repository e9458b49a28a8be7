"""`grouped`: the shared operation, one convolution to r channels per region grouped by region, one batched product.

Regions are folded into channels, which needs equally many rows of each and copies the input once: few large calls, for
accelerators with expensive calls.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import cast

import torch
from torch import Tensor

from lorkit.decompose.errors import DataError
from lorkit.decompose.experts import algebra
from lorkit.decompose.experts.strategies import segments
from lorkit.decompose.experts.strategies.base import LayerInputs, Strategy, flat, pad_rank, unflat
from lorkit.decompose.experts.strategies.geometry import LayerGeometry, Workload


class Grouped(Strategy):
    """Regions as groups of one convolution."""

    name = "grouped"
    refused = MappingProxyType(
        {kind: f"a {kind} layer has no input channels to group by region" for kind in ("linear", "transposed")}
    )

    def run(self, inputs: LayerInputs, x: Tensor) -> Tensor:
        """Compute base(x) + up(grouped down); raise DataError if regions have different numbers of rows."""
        if not inputs.equal:
            raise DataError(
                f"strategy 'grouped' on {', '.join(map(str, inputs.rows))} rows of the regions",
                required="as many rows of every region",
                fix="set train.sampling to balanced, or the strategy to auto",
            )
        y: Tensor = inputs.base(x)
        folded = _fold(x, len(inputs.rows))
        down = torch.cat([pad_rank(down, 0, inputs.widest) for down in inputs.downs])
        low = algebra.apply_grouped(cast(algebra.Conv, inputs.base), folded, down, len(inputs.rows))
        low_PC = flat(inputs.geometry, _unfold(low, len(inputs.rows)))
        y_PO = flat(inputs.geometry, y)
        counts = inputs.positions(len(y_PO) // len(y))
        y_PO = segments.add_product(y_PO, low_PC, inputs.stack_ups(), counts, inputs.equal)
        return unflat(inputs.geometry, y_PO, inputs.geometry.spatial(tuple(y.shape)), y)

    def seconds(self, geometry: LayerGeometry, workload: Workload) -> float:
        """Estimate a narrow convolution, copies of the input in both directions, and a pass over the output."""
        if not workload.equal:
            return float("inf")
        passed = 3 * workload.pixels_in * geometry.inputs + 1.5 * workload.pixels_out * geometry.outputs
        factors = workload.regions * geometry.rank * geometry.inputs * geometry.taps
        calls = 100 if geometry.pointwise else 40
        return workload.costs.time(
            narrow_macs=2 * self.macs(geometry, workload), passed=passed, factors=factors, calls=calls
        )


def _fold(x: Tensor, regions: int) -> Tensor:
    """Map (T * n, I, *S) to (n, T * I, *S)."""
    return x.reshape(regions, -1, *x.shape[1:]).transpose(0, 1).flatten(1, 2)


def _unfold(low: Tensor, regions: int) -> Tensor:
    """Map (n, T * r, *S) to (T * n, r, *S)."""
    return low.reshape(len(low), regions, -1, *low.shape[2:]).transpose(0, 1).flatten(0, 1)
