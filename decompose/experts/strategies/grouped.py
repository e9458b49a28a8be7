"""`grouped`: the shared operation, one convolution of r channels a region grouped by region, one batched product.

Regions are folded into channels, which needs as many rows of each and copies the input once: few large calls, for
accelerators where a call is dear.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from lorkit.decompose.errors import DataError
from lorkit.decompose.experts import algebra
from lorkit.decompose.experts.strategies import device_costs, segments
from lorkit.decompose.experts.strategies.base import Work, flat, grown, unflat
from lorkit.decompose.experts.strategies.geometry import Load, Site
from lorkit.decompose.experts.strategies.split import low_rank_macs


class Grouped:
    """Regions as groups of one convolution."""

    name = "grouped"

    def refusal(self, site: Site) -> str | None:
        """Refuse what is no zero-padded convolution of layout `conv`."""
        if site.layout != "conv":
            return "layout 'reshape' has no low-rank path"
        if site.kind != "conv":
            return f"a {site.kind} layer has no input channels to group by region"
        return None if site.zeros else "the border is not padded with zeros"

    def run(self, work: Work, x: Tensor) -> Tensor:
        """Compute base(x) + up(grouped down).

        Raises:
            DataError: The regions of the batch have different numbers of rows.
        """
        if not work.equal:
            raise DataError(
                f"strategy 'grouped' on {', '.join(map(str, work.rows))} rows of the regions",
                required="as many rows of every region",
                fix="set train.sampling to balanced, or the strategy to auto",
            )
        y: Tensor = work.base(x)
        folded = _fold(x, len(work.rows))
        down = torch.cat([grown(down, 0, work.widest) for down in work.downs])
        low = algebra.apply_grouped(cast(algebra.Conv, work.base), folded, down, len(work.rows))
        low_PC = flat(work.site, _unfold(low, len(work.rows)))
        y_PO = flat(work.site, y)
        counts = work.positions(len(y_PO) // len(y))
        return unflat(
            work.site,
            segments.add_product(y_PO, low_PC, work.stack_ups(), counts, work.equal),
            work.site.spatial(tuple(y.shape)),
            y,
        )

    def macs(self, site: Site, load: Load) -> int:
        """Count the grouped convolution and the product up."""
        return low_rank_macs(site, load)

    def seconds(self, site: Site, load: Load) -> float:
        """Price a narrow convolution, copies of the input there and back, and a pass over the output."""
        if not load.equal:
            return float("inf")
        passed = 3 * load.pixels_in * site.inputs + 1.5 * load.pixels_out * site.outputs
        factors = load.regions * site.rank * site.inputs * site.taps
        return device_costs.of(load).time(
            narrow_macs=2 * self.macs(site, load), passed=passed, factors=factors, calls=40
        )


def _fold(x: Tensor, regions: int) -> Tensor:
    """Map (T * n, I, *S) to (n, T * I, *S)."""
    return x.reshape(regions, -1, *x.shape[1:]).transpose(0, 1).flatten(1, 2)


def _unfold(low: Tensor, regions: int) -> Tensor:
    """Map (n, T * r, *S) to (T * n, r, *S)."""
    return low.reshape(len(low), regions, -1, *low.shape[2:]).transpose(0, 1).flatten(0, 1)
