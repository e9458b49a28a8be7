"""Networks: backbones by name, the model of all regions, the foundation model."""

from __future__ import annotations

from lorkit.decompose.models.backbones.registry import (
    attach_head,
    build_backbone,
    detach_head,
    known_backbones,
    new_head,
)
from lorkit.decompose.models.cost import count_macs, count_parameters
from lorkit.decompose.models.deployable import Deployable, Normalise
from lorkit.decompose.models.regional import RegionalModel, RegionalOutput, SeparateModels

__all__ = [
    "Deployable",
    "Normalise",
    "RegionalModel",
    "RegionalOutput",
    "SeparateModels",
    "attach_head",
    "build_backbone",
    "count_macs",
    "count_parameters",
    "detach_head",
    "known_backbones",
    "new_head",
]
