"""`sampled`: the shared operation, one convolution grouped by row with each row's own down factor, one product a row.

Any mixture of regions in any numbers in a fixed number of calls; copies the factors of each row.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from lorkit.decompose.experts import algebra
from lorkit.decompose.experts.strategies import device_costs
from lorkit.decompose.experts.strategies.base import Work, unflat
from lorkit.decompose.experts.strategies.geometry import Load, Site
from lorkit.decompose.experts.strategies.split import low_rank_macs


class Sampled:
    """Rows as groups of one convolution."""

    name = "sampled"

    def refusal(self, site: Site) -> str | None:
        """Refuse what is neither linear nor a zero-padded convolution of layout `conv`."""
        if site.layout != "conv":
            return "layout 'reshape' has no low-rank path"
        if site.kind == "transposed":
            return "a transposed convolution is not grouped by row"
        return None if site.zeros else "the border is not padded with zeros"

    def run(self, work: Work, x: Tensor) -> Tensor:
        """Compute base(x) + up(down), both with the factors of each row."""
        site = work.site
        y: Tensor = work.base(x)
        rows = torch.tensor(work.rows, device=x.device)
        owner = torch.repeat_interleave(torch.arange(len(rows), device=x.device), rows, output_size=len(x))
        downs = work.stack_downs().movedim(-1, 2).index_select(0, owner)  # (L, r, I, *k)
        if site.kind == "linear":
            low = torch.bmm(x.reshape(len(x), -1, site.inputs), downs.mT)
        else:
            folded = algebra.apply_grouped(
                cast(algebra.Conv, work.base), x.flatten(0, 1)[None], downs.flatten(0, 1).contiguous(), len(x)
            )
            low = folded.reshape(len(x), downs.shape[1], -1).mT
        ups = work.stack_ups().index_select(0, owner)  # (L, O, r)
        update = torch.bmm(low, ups.mT).flatten(0, 1)
        return y + unflat(site, update, site.spatial(tuple(y.shape)), y)

    def macs(self, site: Site, load: Load) -> int:
        """Count the grouped convolution and the product up."""
        return low_rank_macs(site, load)

    def seconds(self, site: Site, load: Load) -> float:
        """Price a narrow convolution, copies of input, output and the factors of every row."""
        passed = 3 * load.pixels_in * site.inputs + 3 * load.pixels_out * site.outputs
        factors = load.rows * site.rank * (site.inputs * site.taps + site.outputs)
        return device_costs.of(load).time(
            narrow_macs=3 * self.macs(site, load), passed=passed, factors=factors, calls=40
        )
