"""`expert.json` of a mixture: a network of several regions, and the gated layers that rebuild it."""

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
    group: int
