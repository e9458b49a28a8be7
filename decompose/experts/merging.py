"""Merge a live model into the plain network of one region."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts.layers import ExpertLayer, LowRankExperts
from lorkit.decompose.experts.norms.region_norm import RegionNorm


def expert_layers(model: nn.Module) -> dict[str, ExpertLayer]:
    """Return the expert layers of a model, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, ExpertLayer)}


def extract(model: nn.Module, region: str) -> nn.Module:
    """Return the network of one region: a new object with the original classes, keys and size.

    The argument is not changed, and nothing of other regions is copied: expert layers are replaced by base layers with
    the merged weight, regional norms by the region's, and the rest is deep-copied.

    Args:
        model: A network after `add_experts_`, live or fused.
        region: Region whose expert is merged.

    Raises:
        UsageError: The region is unknown.
    """
    memo: dict[int, Any] = {
        id(module): module.plain(region) for module in model.modules() if isinstance(module, ExpertLayer | RegionNorm)
    }
    return copy.deepcopy(model, memo)


def pack_(model: nn.Module) -> list[str]:
    """Pack the factors of every layer and the maps of every norm that allow it; return the names of those layers.

    Factors of different ranks are not packed. Call it after moving the model and setting its memory format.
    """
    for norm in _norms(model):
        norm.pack_()
    layers = expert_layers(model).items()
    return [name for name, layer in layers if isinstance(layer, LowRankExperts) and layer.pack_()]


def unpack_(model: nn.Module) -> None:
    """Undo `pack_`, bit by bit."""
    for layer in expert_layers(model).values():
        if isinstance(layer, LowRankExperts):
            layer.unpack_()
    for norm in _norms(model):
        norm.unpack_()


@contextmanager
def packed(model: nn.Module) -> Iterator[None]:
    """Pack experts inside the context; when a packed factor is saved, all others would be saved with it."""
    pack_(model)
    try:
        yield
    finally:
        unpack_(model)


def fuse_(model: nn.Module, region: str) -> None:
    """Make a live model run one region at the cost of its plain network, in place.

    Base weights are kept and replaced by merged ones, always computed from the kept ones: adding and subtracting
    updates drifts (1e-6 relative in float32 after 1,000 switches, 1e-2 in bfloat16). Another call switches the region,
    which becomes the active one; a fused model refuses to train, save or load.

    Raises:
        UsageError: The region is unknown, or the model has no experts.
    """
    layers = _layers(model)
    layers[0].routing.index(region)
    for layer in layers:
        layer.fuse_(region)
    layers[0].routing.activate(region)


def unfuse_(model: nn.Module) -> None:
    """Restore the base weights, bit by bit; no region is active afterwards."""
    layers = _layers(model)
    if layers[0].fused is not None:
        layers[0].routing.activate(None)
    for layer in layers:
        layer.unfuse_()


def _norms(model: nn.Module) -> list[RegionNorm]:
    return [module for module in model.modules() if isinstance(module, RegionNorm)]


def _layers(model: nn.Module) -> list[ExpertLayer]:
    layers = list(expert_layers(model).values())
    if not layers:
        raise UsageError("a model without experts", required="one that add_experts_ adapted", fix="add experts first")
    return layers
