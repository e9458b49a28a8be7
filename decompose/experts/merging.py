"""From a live model to the plain network of one region."""

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
    """Return the layers of a model that carry experts, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, ExpertLayer)}


def extract(model: nn.Module, region: str) -> nn.Module:
    """Return the network of one region: a new object with the original classes, keys and size.

    The argument is not touched, and nothing of the other regions is copied: every expert layer is replaced by a
    base layer with the merged weight, every regional norm by the region's own, before the rest is deep-copied.

    Args:
        model: A network that went through `add_experts_`, live or fused.
        region: Whose expert to merge.

    Raises:
        UsageError: The region is unknown.
    """
    memo: dict[int, Any] = {
        id(module): module.plain(region) for module in model.modules() if isinstance(module, ExpertLayer | RegionNorm)
    }
    return copy.deepcopy(model, memo)


def pack_(model: nn.Module) -> list[str]:
    """Pack the factors of every layer that allows it, in place; return the names of those layers.

    Regions of different ranks keep their factors apart. Call it after the model was moved and its memory format set.
    """
    layers = expert_layers(model).items()
    return [name for name, layer in layers if isinstance(layer, LowRankExperts) and layer.pack_()]


def unpack_(model: nn.Module) -> None:
    """Undo `pack_`; values stay to the bit."""
    for layer in expert_layers(model).values():
        if isinstance(layer, LowRankExperts):
            layer.unpack_()


@contextmanager
def packed(model: nn.Module) -> Iterator[None]:
    """Pack experts inside the context; outside, a factor that is saved must not drag all others along."""
    pack_(model)
    try:
        yield
    finally:
        unpack_(model)


def fuse_(model: nn.Module, region: str) -> None:
    """Make a live model run one region at the cost of its plain network, in place.

    Each base weight is kept aside and the merged one written over it, always computed from the kept one: adding and
    subtracting updates drifts (1e-6 relative in float32 after 1,000 switches, 1e-2 in bfloat16). Calling it with
    another region switches. The region becomes the active one; a fused model refuses to train, save or load.

    Raises:
        UsageError: The region is unknown, or the model has no experts.
    """
    layers = _layers(model)
    layers[0].routing.index(region)
    for layer in layers:
        layer.fuse_(region)
    layers[0].routing.activate(region)


def unfuse_(model: nn.Module) -> None:
    """Put the kept base weights back, bit by bit; no region is active afterwards."""
    layers = _layers(model)
    if layers[0].fused is not None:
        layers[0].routing.activate(None)
    for layer in layers:
        layer.unfuse_()


def _layers(model: nn.Module) -> list[ExpertLayer]:
    layers = list(expert_layers(model).values())
    if not layers:
        raise UsageError("a model without experts", required="one that add_experts_ adapted", fix="add experts first")
    return layers
