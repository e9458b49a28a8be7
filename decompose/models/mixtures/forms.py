"""The form of each gated layer: the one with the fewest operations for its shape.

Measured with ONNX Runtime on one thread (`benchmarks/routing.py`): a k x k convolution is fastest as a base with
stacked factors. A layer that mixes channels at each position is fastest with a weight per sample while the table of
weights fits into a core's cache, unless there are few positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple, cast

from torch import nn

from lorkit.decompose.config.methods import FactorLayout
from lorkit.decompose.documents.gated import GatedForm
from lorkit.decompose.experts.algebra import TRANSPOSED, Base
from lorkit.decompose.models.mixtures.blocks import BlocksLayer, blocks_of
from lorkit.decompose.models.mixtures.layers import FullLayer, GatedLayer, LowRankLayer, MixedLayer, channels
from lorkit.decompose.models.mixtures.norms import GatedNorm

FORMS: dict[GatedForm, type[GatedLayer]] = {
    "low-rank": LowRankLayer,
    "blocks": BlocksLayer,
    "mixed": MixedLayer,
    "full": FullLayer,
    "norm": GatedNorm,
}
# Elements of a table of weights: one MiB of float32, half the second-level cache of current server cores.
_LARGEST_TABLE = 2**18
# A weight per sample is written and read again, without reuse.
_PER_WEIGHT = 2


class Positions(NamedTuple):
    """Positions of one image that a layer reads and writes."""

    read: int
    written: int


def choose_form(
    base: nn.Module, ranks: Sequence[int], layout: FactorLayout, positions: Positions, *, picked: bool
) -> GatedForm:
    """Return the form of a layer with low-rank adapters.

    Args:
        base: The layer.
        ranks: Of the adapters.
        layout: Of their factors.
        positions: Of one image.
        picked: Whether each sample has one adapter, else a mixture of all.
    """
    costs = form_macs(cast(Base, base), ranks, layout, positions, picked=picked)
    return min(costs, key=lambda form: costs[form])


def form_macs(
    base: Base, ranks: Sequence[int], layout: FactorLayout, positions: Positions, *, picked: bool
) -> dict[GatedForm, int]:
    """Return the operations of the adapters for one image, by possible form; arguments as in `choose_form`."""
    inputs, outputs = channels(base)
    kernel, adapters, total = tuple(base.weight.shape[2:]), len(ranks), sum(ranks)
    area, transposed = prod(kernel), type(base) in TRANSPOSED
    places = positions.read if transposed else positions.written
    near, far = (outputs, inputs) if transposed else (inputs, outputs)
    costs: dict[GatedForm, int] = {"full": adapters * places * inputs * outputs * area}
    if layout == "reshape" and kernel and kernel[0] > 1:
        width = blocks_of(base.weight.shape[1], kernel[0]).width
        costs["blocks"] = places * total * kernel[0] ** 2 * (width * area + far)
    else:
        costs["low-rank"] = places * total * (near * area + far)
    if _mixes_channels(base) and adapters * inputs * outputs <= _LARGEST_TABLE:
        costs["mixed"] = _PER_WEIGHT * (_PER_WEIGHT if picked else adapters) * inputs * outputs
    return costs


def _mixes_channels(base: Base) -> bool:
    """Return whether a layer is a matrix product at each position."""
    if isinstance(base, nn.Linear):
        return True
    alone = all(side == 1 for side in (*base.kernel_size, *base.stride))
    return alone and type(base) not in TRANSPOSED and not any(base.padding)
