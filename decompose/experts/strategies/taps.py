"""`taps`: the shared operation, one product with all kernel taps of the down factor, a shifted sum, one product up.

No input is unfolded or copied, and regions share two batched products: the choice for wide layers and many regions.
"""

from __future__ import annotations

from torch import Tensor

from lorkit.decompose.experts import prices, segments
from lorkit.decompose.experts.site import Load, Site
from lorkit.decompose.experts.strategies.base import Work, flat, unflat
from lorkit.decompose.experts.taps import gather_taps


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
        price = prices.of(load)
        wide = 0 if site.pointwise else load.pixels_in * site.rank * site.taps
        passed = load.pixels_in * site.inputs + load.pixels_out * site.outputs
        factors = load.regions * site.rank * site.inputs * site.taps
        calls = 20 + (0 if site.pointwise else 4 * site.taps) + (0 if load.equal else 6 * load.regions)
        return price.time(macs=3 * self.macs(site, load), shuffled=wide, passed=passed, factors=factors, calls=calls)


STRATEGY = Taps()
