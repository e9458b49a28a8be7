"""`split`: the shared operation on the whole batch, and two small operations a region on its rows.

Exact for every layer of layout `conv`, in plain operations that any backend knows; T small calls make it slow for many
regions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lorkit.decompose.experts import algebra
from lorkit.decompose.experts.strategies import device_costs
from lorkit.decompose.experts.strategies.base import Work
from lorkit.decompose.experts.strategies.geometry import Load, Site


class Split:
    """Two small operations a region."""

    name = "split"

    def refusal(self, site: Site) -> str | None:
        """Refuse what has no low-rank path."""
        return "layout 'reshape' has no low-rank path" if site.layout != "conv" else None

    def run(self, work: Work, x: Tensor) -> Tensor:
        """Compute base(x) + join of the regions' updates."""
        regions = zip(torch.split(x, list(work.rows)), work.downs, work.ups, work.scales, strict=True)
        updates = [algebra.low_rank(work.base, part, down, up * scale) for part, down, up, scale in regions]
        y: Tensor = work.base(x)
        return y + (updates[0] if len(updates) == 1 else torch.cat(updates))

    def macs(self, site: Site, load: Load) -> int:
        """Count both small operations."""
        return low_rank_macs(site, load)

    def seconds(self, site: Site, load: Load) -> float:
        """Price narrow convolutions, the join and the sum, and the calls."""
        passed = load.pixels_in * site.inputs + 2 * load.pixels_out * site.outputs
        factors = load.regions * site.rank * site.inputs * site.taps
        calls = 10 + 25 * load.regions
        return device_costs.of(load).time(
            narrow_macs=3 * self.macs(site, load), passed=passed, factors=factors, calls=calls
        )


def low_rank_macs(site: Site, load: Load) -> int:
    """Return the multiply-accumulates of the two small operations of layout `conv`."""
    if site.kind == "transposed":
        return site.rank * load.pixels_in * (site.inputs + site.outputs * site.taps)
    return site.rank * load.pixels_out * (site.inputs * site.taps + site.outputs)
