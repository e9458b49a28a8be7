"""`sampled`: the shared operation, one convolution grouped by row with its down factor, one product per row.

Any mixture of regions in a fixed number of calls; copies the factors of each row.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import cast

import torch
from torch import Tensor

from lorkit.decompose.experts import algebra
from lorkit.decompose.experts.strategies.base import LayerInputs, Strategy, unflat
from lorkit.decompose.experts.strategies.geometry import LayerGeometry, Workload


class Sampled(Strategy):
    """Rows as groups of one convolution."""

    name = "sampled"
    refused = MappingProxyType({"transposed": "a transposed convolution is not grouped by row"})

    def run(self, inputs: LayerInputs, x: Tensor) -> Tensor:
        """Compute base(x) + up(down), both with the factors of each row."""
        geometry = inputs.geometry
        y: Tensor = inputs.base(x)
        rows = torch.tensor(inputs.rows, device=x.device)
        owner = torch.repeat_interleave(torch.arange(len(rows), device=x.device), rows, output_size=len(x))
        downs = inputs.stack_downs().movedim(-1, 2).index_select(0, owner)  # (L, r, I, *k)
        if geometry.kind == "linear":
            low = torch.bmm(x.reshape(len(x), -1, geometry.inputs), downs.mT)
        else:
            folded = algebra.apply_grouped(
                cast(algebra.Conv, inputs.base), x.flatten(0, 1)[None], downs.flatten(0, 1).contiguous(), len(x)
            )
            low = folded.reshape(len(x), downs.shape[1], -1).mT
        ups = inputs.stack_ups().index_select(0, owner)  # (L, O, r)
        update = torch.bmm(low, ups.mT).flatten(0, 1)
        return y + unflat(geometry, update, geometry.spatial(tuple(y.shape)), y)

    def seconds(self, geometry: LayerGeometry, workload: Workload) -> float:
        """Estimate a narrow convolution, copies of input, output and the factors of every row."""
        passed = 3 * workload.pixels_in * geometry.inputs + 3 * workload.pixels_out * geometry.outputs
        factors = workload.rows * geometry.rank * (geometry.inputs * geometry.taps + geometry.outputs)
        return workload.costs.time(
            narrow_macs=3 * self.macs(geometry, workload), passed=passed, factors=factors, calls=40
        )
