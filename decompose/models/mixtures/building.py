"""Build gated layers from the live layers with experts, or from the description of a stored mixture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from lorkit.decompose.documents.gated import GatedSpec
from lorkit.decompose.experts import ExpertLayer, LowRankExperts, RegionNorm, Routing, extract
from lorkit.decompose.experts.algebra import TRANSPOSED
from lorkit.decompose.experts.forecast import on_meta
from lorkit.decompose.models.mixtures.blocks import BlocksLayer
from lorkit.decompose.models.mixtures.forms import FORMS, Positions, choose_form
from lorkit.decompose.models.mixtures.gates import Gates
from lorkit.decompose.models.mixtures.layers import FullLayer, LowRankLayer, MixedLayer
from lorkit.decompose.models.mixtures.norms import GatedNorm


def gated_specs(
    backbone: nn.Module, routings: Sequence[Routing], image_shape: tuple[int, ...], *, picked: bool
) -> list[GatedSpec]:
    """Describe the gated layers of a live backbone.

    Args:
        backbone: With expert layers and norms by region.
        routings: Of the groups of layers, in the order of their gates.
        image_shape: (C, *spatial), for which the forms are chosen.
        picked: Whether each sample has one adapter, else a mixture.
    """
    positions = _positions(extract(backbone, routings[0].regions[0]), image_shape)
    specs = []
    for name, module in backbone.named_modules():
        if not isinstance(module, ExpertLayer | RegionNorm):
            continue
        group = next(at for at, routing in enumerate(routings) if module.routing is routing)
        names = routings[group].regions
        if isinstance(module, LowRankExperts):
            ranks = [module.config.rank_of(adapter) for adapter in names]
            form = choose_form(module.base, ranks, module.config.layout, positions[name], picked=picked)
        else:
            ranks, form = [0] * len(names), "norm" if isinstance(module, RegionNorm) else "full"
        specs.append(GatedSpec(name=name, form=form, ranks=ranks, gate_group=group))
    return specs


def insert_gated_(backbone: nn.Module, specs: Sequence[GatedSpec], groups: int) -> list[Gates]:
    """Replace layers of a plain backbone by gated ones with weights to be loaded, in place; return each group's gates.

    Raises:
        AttributeError: A described layer does not exist.
    """
    gates = [Gates() for _ in range(groups)]
    for spec in specs:
        plain = backbone.get_submodule(spec.name)
        gated = FORMS[spec.form](plain, spec.ranks, gates[spec.gate_group])
        backbone.set_submodule(spec.name, gated.train(plain.training))
    return gates


def gated_backbone(
    backbone: nn.Module, specs: Sequence[GatedSpec], routings: Sequence[Routing]
) -> tuple[nn.Module, list[Gates]]:
    """Return a new backbone with gated layers that computes what a live one does, in eval mode, and its gates."""
    plain = extract(backbone, routings[0].regions[0]).eval().requires_grad_(False)
    gates = insert_gated_(plain, specs, len(routings))
    with torch.no_grad():
        for spec in specs:
            _load_(plain.get_submodule(spec.name), backbone.get_submodule(spec.name), spec.name)
    return plain.requires_grad_(False), gates


def _load_(gated: nn.Module, live: nn.Module, name: str) -> None:
    names = cast(ExpertLayer | RegionNorm, live).routing.regions
    if isinstance(live, RegionNorm):
        cast(GatedNorm, gated).load_norms_([live.plain(adapter) for adapter in names], name)
        return
    assert isinstance(live, ExpertLayer)
    if isinstance(gated, MixedLayer):
        _load_table_(gated, live, names)
        return
    cast(Any, gated).base.weight.copy_(live.base.weight)
    if isinstance(gated, FullLayer):
        for update, adapter in zip(gated.updates, names, strict=True):
            cast(Tensor, update.weight).copy_(live.delta_weight(adapter))
        return
    assert isinstance(live, LowRankExperts)
    downs, ups = [live.down[adapter] for adapter in names], [live.up[adapter] for adapter in names]
    scales = [live.config.scale_of(adapter) for adapter in names]
    if isinstance(gated, BlocksLayer):
        gated.load_factors_(downs, ups, scales)
    else:
        _load_factors_(cast(LowRankLayer, gated), live, downs, ups, scales)


def _load_factors_(
    gated: LowRankLayer, live: LowRankExperts, downs: list[Tensor], ups: list[Tensor], scales: list[float]
) -> None:
    transposed = type(live.base) in TRANSPOSED
    if live.config.layout == "reshape" and transposed:  # of kernels whose first side is 1: the factors change places
        downs, ups = [up.mT for up in ups], list(downs)
    scaled = [up * scale for up, scale in zip(ups, scales, strict=True)]
    down, up = cast(Tensor, gated.down.weight), cast(Tensor, gated.up.weight)
    down.copy_(torch.cat(downs).reshape(down.shape))
    up.copy_(torch.cat(scaled, 0 if transposed else 1).reshape(up.shape))


def _load_table_(gated: MixedLayer, live: ExpertLayer, names: Sequence[str]) -> None:
    weights = torch.stack([live.merged_weight(adapter).flatten(1) for adapter in names])
    gated.table.copy_(weights.mT if gated.linear else weights)
    if gated.bias is not None and live.base.bias is not None:
        gated.bias.copy_(live.base.bias.view_as(gated.bias))


def _positions(plain: nn.Module, image_shape: tuple[int, ...]) -> dict[str, Positions]:
    """Return the positions of one image in every layer with weights, from shapes alone."""
    network = on_meta(plain)
    found: dict[str, Positions] = {}

    def note(name: str, layer: nn.Module, arguments: tuple[Tensor, ...], y: Tensor) -> None:
        axis = -1 if isinstance(layer, nn.Linear) else 1
        x = arguments[0]
        found.setdefault(name, Positions(x.numel() // x.shape[axis], y.numel() // y.shape[axis]))

    for name, module in network.named_modules():
        if isinstance(getattr(module, "weight", None), Tensor) and not list(module.children()):
            module.register_forward_hook(partial(note, name))
    dtype = next(network.parameters()).dtype
    with torch.no_grad():
        network(torch.empty(1, *image_shape, device="meta", dtype=dtype))
    return found
