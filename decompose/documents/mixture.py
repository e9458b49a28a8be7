"""`expert.json` of a mixture: a network of several regions, and what rebuilds its gated layers."""

from __future__ import annotations

from typing import Literal

from lorkit.decompose.documents.base import Document
from lorkit.decompose.documents.evaluate import RegionPrediction
from lorkit.decompose.documents.expert import Equality, ExpertSource
from lorkit.decompose.documents.gated import GatedLayers
from lorkit.decompose.documents.heads import Mixture
from lorkit.decompose.documents.network import ImageShape, Normalisation
from lorkit.decompose.documents.recipe import Recipe
from lorkit.decompose.documents.scores import TaskScores


class MixtureInfo(Document):
    """The `expert.json` of a network of several regions.

    The heads are in the order of the region ids.
    """

    kind: Literal["mixture"] = "mixture"
    mixture: Mixture
    backbone: str
    image: ImageShape
    recipe: Recipe
    """Preprocessing of the images of every region."""
    gray: bool
    """Whether the images of all regions are gray."""
    normalise: Normalisation
    gated_layers: GatedLayers
    parameters: int
    macs: int
    cases_by_region: dict[str, dict[str, int]]
    """Images of each part, by region."""
    synthetic: bool
    made_from: ExpertSource
    equality_by_region: dict[str, Equality]
    """By region, of its own head."""
    validation_by_region: dict[str, TaskScores]
    """By region, of its own head: the region is known."""
    prediction: RegionPrediction | None = None
    """How a router predicts regions of the validation split, on which its limit was set."""
