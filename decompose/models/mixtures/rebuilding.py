"""Describe the gated layers of a network, and build the same ones with weights to be loaded."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from lorkit.decompose.documents.gated import GatedLayers, GatedSpec, GatingInfo
from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts.gating_network import GatingNetwork
from lorkit.decompose.experts.routers import ROUTERS, router_class
from lorkit.decompose.models.backbones.stage_adapters import stage_shapes
from lorkit.decompose.models.mixtures.building import insert_gated_
from lorkit.decompose.models.mixtures.forms import FORMS
from lorkit.decompose.models.mixtures.gates import Gates
from lorkit.decompose.models.mixtures.layers import GatedLayer
from lorkit.decompose.models.mixtures.networks import GatedBackbone


def describe_gated(backbone: nn.Module, gates: Sequence[Gates], gating: GatingNetwork | None = None) -> GatedLayers:
    """Describe a backbone with gated layers: `gates` of their groups, and the gating network that sets them, if any."""
    forms = {kind: form for form, kind in FORMS.items()}
    layers = [
        GatedSpec(
            name=name,
            form=forms[type(module)],
            ranks=list(module.ranks),
            gate_group=next(group for group, one in enumerate(gates) if one is module.gates),
        )
        for name, module in backbone.named_modules()
        if isinstance(module, GatedLayer)
    ]
    return GatedLayers(layers=layers, gating=None if gating is None else _describe_gating(gating))


def rebuild_gated(backbone: nn.Module, layers: GatedLayers) -> tuple[nn.Module, Gates]:
    """Replace the described layers of a plain backbone, in place; return it with the gates that a region id sets.

    Raises:
        UsageError: It lacks a described layer.
    """
    (gates,) = _insert_(backbone, layers, 1)
    return backbone, gates


def rebuild_routed(backbone: nn.Module, layers: GatedLayers, image_shape: tuple[int, ...]) -> GatedBackbone:
    """Replace the described layers of a plain backbone, in place, and add the described gating network.

    Raises:
        UsageError: It lacks a described layer, or none describes the gating network.
    """
    info = layers.gating
    if info is None:
        raise UsageError(
            "a routed network without a gating network", required="its description", fix="extract it again"
        )
    kind = router_class(info.router)
    # before gated layers are inserted, which run only with gates
    shape = stage_shapes(backbone, image_shape)[0] if kind.taps else image_shape
    gating = GatingNetwork(
        kind(shape), info.adapters, groups=info.groups, temperature=info.temperature, top_k=info.top_k
    )
    return GatedBackbone(backbone, gating, _insert_(backbone, layers, info.groups))


def _insert_(backbone: nn.Module, layers: GatedLayers, groups: int) -> list[Gates]:
    try:
        return insert_gated_(backbone, layers.layers, groups)
    except (AttributeError, IndexError) as error:
        raise UsageError(
            f"gated layers of another network ({error})", required="layers of its backbone", fix="extract it again"
        ) from None


def _describe_gating(gating: GatingNetwork) -> GatingInfo:
    return GatingInfo(
        router=next(name for name, kind in ROUTERS.items() if type(gating.router) is kind),
        adapters=gating.adapters,
        groups=gating.groups,
        temperature=gating.temperature,
        top_k=gating.top_k,
    )
