"""`merged`: each region's full weight, W0 + s * delta, on its rows.

No arithmetic is added, but T weights are built and differentiated: the best choice for narrow layers with large maps,
and the only one for layout `reshape`. A pointwise layer is one batched product of rows and merged weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lorkit.decompose.experts import algebra
from lorkit.decompose.experts.strategies import one_node, segments
from lorkit.decompose.experts.strategies.base import LayerInputs, Strategy, flat, full_precision, strided, unflat
from lorkit.decompose.experts.strategies.geometry import LayerGeometry, Workload
from lorkit.decompose.experts.strategies.merged_node import merged_node


class Merged(Strategy):
    """One operation per region with its merged weight."""

    name = "merged"

    def refusal(self, geometry: LayerGeometry) -> str | None:
        """Refuse nothing: every layer that is linear in its weight can be merged."""
        return None

    def run(self, inputs: LayerInputs, x: Tensor) -> Tensor:
        """Compute op(x_t, W0 + s_t delta_t) region by region."""
        if one_node.in_one_node(inputs, x):
            return merged_node(inputs, x, self._plain)
        return self._plain(inputs, x)

    def _plain(self, inputs: LayerInputs, x: Tensor) -> Tensor:
        geometry = inputs.geometry
        if algebra.hooked(inputs.base):
            return _beside(inputs, x)
        weights = merged_weights(inputs)
        if geometry.pointwise and geometry.layout == "conv":
            return _pointwise(inputs, x, weights)
        # unbind, not indices: the gradient of an index is a full tensor of zeros
        pairs = zip(torch.split(x, list(inputs.rows)), weights.unbind(), strict=True)
        outputs = [algebra.apply(inputs.base, part, weight, inputs.base.bias) for part, weight in pairs]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def macs(self, geometry: LayerGeometry, workload: Workload) -> int:
        """Count the products of the factors."""
        wider = geometry.kernel[0] if geometry.layout == "reshape" and geometry.kernel else 1
        return workload.regions * geometry.rank * geometry.outputs * geometry.inputs * geometry.taps * wider

    def seconds(self, geometry: LayerGeometry, workload: Workload) -> float:
        """Estimate T merged weights, and the copies that split the batch and join it again."""
        whole = geometry.pointwise and workload.equal
        # one batched product uses the weights as they are; a convolution reorders those of each region
        share = 0.5 if whole and geometry.layout == "conv" else 1
        merged = share * workload.regions * geometry.outputs * geometry.inputs * geometry.taps
        copied = 0 if whole else workload.pixels_in * geometry.inputs + workload.pixels_out * geometry.outputs
        calls = 12 if whole else 12 + 6 * workload.regions
        return workload.costs.time(macs=3 * self.macs(geometry, workload), merged=merged, copied=copied, calls=calls)


def merged_weights(inputs: LayerInputs) -> Tensor:
    """Return (T, *weight.shape), in full precision also under autocast, where small updates would be rounded away."""
    base, geometry = inputs.base.weight, inputs.geometry
    if geometry.layout == "reshape" or geometry.kind == "transposed":
        return base + weight_updates(inputs)
    with full_precision(base.device):
        # the weight's memory format determines that of the output
        plain = base.is_contiguous()
        last = base if plain else base.movedim(1, -1)  # (O, *k, I): contiguous in channels-last memory
        downs = inputs.stack_plain_downs() if plain else inputs.stack_downs()
        wide = last.reshape(1, len(base), -1).expand(len(inputs.rows), -1, -1)
        merged = torch.baddbmm(wide, inputs.stack_ups(), downs.flatten(2)).view(-1, *last.shape)
    return merged if plain else merged.movedim(-1, 2)


def weight_updates(inputs: LayerInputs) -> Tensor:
    """Return s * delta of every region, (T, *weight.shape)."""
    base = inputs.base.weight
    with full_precision(base.device):
        downs = inputs.stack_plain_downs()
        if inputs.geometry.layout == "reshape" or inputs.geometry.kind != "transposed":
            return torch.bmm(inputs.stack_ups(), downs.flatten(2)).view(-1, *base.shape)
        # weight (I, O, *k): down (T, r, I), up (T, r, O, *k)
        return torch.bmm(downs.mT, inputs.stack_wide_ups().flatten(2)).view(-1, *base.shape)


def _beside(inputs: LayerInputs, x: Tensor) -> Tensor:
    """Compute base(x) + op(x_t, s_t delta_t), so that hooks on the base see the same as with other strategies."""
    y: Tensor = inputs.base(x)
    pairs = zip(torch.split(x, list(inputs.rows)), weight_updates(inputs).unbind(), strict=True)
    return y + torch.cat([algebra.apply(inputs.base, part, update) for part, update in pairs])


def _pointwise(inputs: LayerInputs, x: Tensor, weights: Tensor) -> Tensor:
    geometry, base = inputs.geometry, inputs.base
    x = strided(geometry, x)
    x_PI = flat(geometry, x)
    y_PO = segments.multiply(x_PI, weights.flatten(2), inputs.positions(len(x_PI) // len(x)), inputs.equal)
    if base.bias is not None:
        y_PO = y_PO + base.bias.to(y_PO.dtype)
    return unflat(geometry, y_PO, geometry.spatial(tuple(x.shape)), x)
