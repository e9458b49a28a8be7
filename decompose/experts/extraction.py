"""From a live model to the plain network of one region."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from lorkit.decompose.experts.layers import ExpertLayer
from lorkit.decompose.experts.norm import RegionNorm


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
