"""Description of a network on disk, whether expert or export: its region, recipe and size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lorkit.decompose.documents.base import Part, Share
from lorkit.decompose.documents.recipe import Recipe
from lorkit.decompose.regions import Region


class ImageShape(Part):
    """Shape of one input image."""

    size: list[int]
    channels: int


class Normalisation(Part):
    """Mean and std per channel, part of the network's graph."""

    mean: list[float]
    std: list[float]


class RefusalRate(Part):
    """Fraction of unseen images of the region that the check refuses; null without such images."""

    rate: Share | None
    n: int
    split: str


class OtherRegions(Part):
    """Fraction of images of other regions that the check refuses."""

    rate: Share | None
    lowest: Share | None
    regions: int
    n: int


class RegionModel(Part):
    """A Gaussian over fingerprints of training images, with a few free directions and one variance for all others."""

    version: Literal[1]
    channels: int
    mean: list[float]
    scale: list[float]
    directions: list[list[float]]
    variances: list[float]
    rest: float
    trained_on: int


class RegionCheck(RegionModel):
    """The check stored with a network: images beyond a distance are refused."""

    limit: float
    calibrated_on: int


class MeasuredCheck(RegionCheck):
    """The check with its refusal rates on images that were not used to fit it."""

    false_refusal: RefusalRate
    other_regions: OtherRegions


class NetworkInfo(Part):
    """The common keys of `expert.json` and `export.json`: the network of one region."""

    region: str
    task: str = "classification"
    classes: list[str]
    modality: str | None = None
    image: ImageShape | None = None
    recipe: Recipe
    normalise: Normalisation | None = None
    in_region: MeasuredCheck | RegionCheck | None = None
    """Null if the network has no check."""
    parameters: int | None = None
    macs: int | None = None
    synthetic: bool = True

    def as_region(self) -> Region:
        """Return the region as described by the network."""
        return Region(
            name=self.region,
            task=self.task,
            classes=tuple(self.classes),
            modality=self.modality,
            synthetic=self.synthetic,
        )


@dataclass(frozen=True, kw_only=True)
class StoredNetwork:
    """The network of one region on disk, whether an expert, an export, or part of a run.

    Attributes:
        region: The region of its outputs.
        recipe: Preprocessing of its inputs.
    """

    region: Region
    recipe: Recipe

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, *spatial) of one input image."""
        return self.recipe.shape

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in output order."""
        return self.region.classes
