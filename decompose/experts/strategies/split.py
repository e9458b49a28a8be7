"""`split`: the shared operation on the whole batch, and two small operations per region on its rows.

Exact for every layer of layout `conv`, in plain operations of any backend; slow for many regions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lorkit.decompose.experts import algebra
from lorkit.decompose.experts.strategies.base import LayerInputs, Strategy
from lorkit.decompose.experts.strategies.geometry import LayerGeometry, Workload


class Split(Strategy):
    """Two small operations per region."""

    name = "split"
    any_border = True

    def run(self, inputs: LayerInputs, x: Tensor) -> Tensor:
        """Compute base(x) + the joined updates of the regions."""
        regions = zip(torch.split(x, list(inputs.rows)), inputs.downs, inputs.ups, inputs.scales, strict=True)
        updates = [algebra.low_rank(inputs.base, part, down, up * scale) for part, down, up, scale in regions]
        y: Tensor = inputs.base(x)
        return y + (updates[0] if len(updates) == 1 else torch.cat(updates))

    def seconds(self, geometry: LayerGeometry, workload: Workload) -> float:
        """Estimate narrow convolutions, the join and the sum, and the calls."""
        passed = workload.pixels_in * geometry.inputs + 2 * workload.pixels_out * geometry.outputs
        factors = workload.regions * geometry.rank * geometry.inputs * geometry.taps
        calls = 10 + 25 * workload.regions
        return workload.costs.time(
            narrow_macs=3 * self.macs(geometry, workload), passed=passed, factors=factors, calls=calls
        )
