"""Gated layers of a stored network, from which it is rebuilt."""

from __future__ import annotations

from typing import Literal

from lorkit.decompose.documents.base import Part

GatedForm = Literal["low-rank", "blocks", "mixed", "full", "norm"]
"""Forms of gated layers (`models.mixtures`): factors, factors of layout reshape, weights per sample, updates, norms."""


class GatedSpec(Part):
    """One gated layer: its name in the backbone, its form, the ranks of its adapters, and its group of gates."""

    name: str
    form: GatedForm
    ranks: list[int]
    gate_group: int


class GatingInfo(Part):
    """A gating network: the name of its router, and its gates."""

    router: str
    adapters: int
    groups: int
    temperature: float
    top_k: int | None


class GatedLayers(Part):
    """All gated layers of a network, and the gating network that sets their gates; null if a region id does."""

    layers: list[GatedSpec]
    gating: GatingInfo | None = None
