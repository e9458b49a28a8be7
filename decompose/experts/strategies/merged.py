"""`merged`: each region's own full weight, W0 + s * delta, on its rows.

Costs no arithmetic beyond the base's but T weights built and differentiated: the choice for narrow layers with large
maps, and the only form of layout `reshape`. A pointwise layer is one batched product of rows and merged weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lorkit.decompose.experts import algebra
from lorkit.decompose.experts.strategies import device_costs, segments
from lorkit.decompose.experts.strategies.base import Work, flat, full_precision, unflat
from lorkit.decompose.experts.strategies.geometry import Load, Site


class Merged:
    """One operation a region with its merged weight."""

    name = "merged"

    def refusal(self, site: Site) -> str | None:
        """Refuse nothing: every layer that is linear in its weight can be merged."""
        del site
        return None

    def run(self, work: Work, x: Tensor) -> Tensor:
        """Compute op(x_t, W0 + s_t delta_t) region by region."""
        site = work.site
        if algebra.hooked(work.base):
            return _beside(work, x)
        weights = merged_weights(work)
        if site.pointwise and site.layout == "conv":
            return _pointwise(work, x, weights)
        # unbind, not indices: the gradient of an index is a whole tensor of zeros around it
        pairs = zip(torch.split(x, list(work.rows)), weights.unbind(), strict=True)
        outputs = [algebra.apply(work.base, part, weight, work.base.bias) for part, weight in pairs]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def macs(self, site: Site, load: Load) -> int:
        """Count the products of the factors."""
        reach = site.taps if site.layout == "conv" or not site.kernel else site.taps * site.kernel[0]
        return load.regions * site.rank * site.outputs * site.inputs * reach

    def seconds(self, site: Site, load: Load) -> float:
        """Price T merged weights, and the copies that cut the batch apart and join it again."""
        merged = load.regions * site.outputs * site.inputs * site.taps
        whole = site.pointwise and load.equal
        copied = 0 if whole else load.pixels_in * site.inputs + load.pixels_out * site.outputs
        calls = 12 if whole else 12 + 6 * load.regions
        return device_costs.of(load).time(macs=3 * self.macs(site, load), merged=merged, copied=copied, calls=calls)


def merged_weights(work: Work) -> Tensor:
    """Return (T, *weight.shape), in full precision also under autocast: a small update must not be rounded away."""
    base, site = work.base.weight, work.site
    if site.layout == "reshape" or site.kind == "transposed":
        return base + weight_updates(work)
    with full_precision(base.device):
        # the memory format of the weight decides that of the output, so the merged one must keep it
        plain = base.is_contiguous()
        last = base if plain else base.movedim(1, -1)  # (O, *k, I): contiguous in channels-last memory
        downs = work.stack_plain_downs() if plain else work.stack_downs()
        wide = last.reshape(1, len(base), -1).expand(len(work.rows), -1, -1)
        merged = torch.baddbmm(wide, work.stack_ups(), downs.flatten(2)).view(-1, *last.shape)
    return merged if plain else merged.movedim(-1, 2)


def weight_updates(work: Work) -> Tensor:
    """Return s * delta of every region, (T, *weight.shape)."""
    base = work.base.weight
    with full_precision(base.device):
        downs = work.stack_plain_downs()
        if work.site.layout == "reshape" or work.site.kind != "transposed":
            return torch.bmm(work.stack_ups(), downs.flatten(2)).view(-1, *base.shape)
        # weight (I, O, *k): down (T, r, I), up (T, r, O, *k)
        return torch.bmm(downs.mT, work.stack_wide_ups().flatten(2)).view(-1, *base.shape)


def _beside(work: Work, x: Tensor) -> Tensor:
    """Compute base(x) + op(x_t, s_t delta_t): hooks on the base see what they see under the other strategies."""
    y: Tensor = work.base(x)
    pairs = zip(torch.split(x, list(work.rows)), weight_updates(work).unbind(), strict=True)
    return y + torch.cat([algebra.apply(work.base, part, update) for part, update in pairs])


def _pointwise(work: Work, x: Tensor, weights: Tensor) -> Tensor:
    site, base = work.site, work.base
    if any(step > 1 for step in site.stride):
        x = x[(slice(None), slice(None), *(slice(None, None, step) for step in site.stride))]
    x_PI = flat(site, x)
    y_PO = segments.multiply(x_PI, weights.flatten(2), work.positions(len(x_PI) // len(x)), work.equal)
    if base.bias is not None:
        y_PO = y_PO + base.bias.to(y_PO.dtype)
    return unflat(site, y_PO, site.spatial(tuple(x.shape)), x)
