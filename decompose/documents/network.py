"""Description of a network on disk, whether expert or export: its region, recipe and size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import model_validator

from lorkit.decompose.documents.base import Part, Places, Share
from lorkit.decompose.documents.recipe import Recipe
from lorkit.decompose.errors import plural
from lorkit.decompose.regions import NODE, Region, Words, words_of

if TYPE_CHECKING:
    from lorkit.decompose.metrics.thresholds import Chosen

VIEW_VALUES = 72
"""Values in the fingerprint of a gray view: a thumbnail of 64, contrast, two of sharpness, and five quantiles."""


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
    region_count: int
    n: int


class RegionModel(Part):
    """A Gaussian over fingerprints of training images, with a few free directions and one variance for all others.

    A fingerprint has `VIEW_VALUES` values per view, and one per channel of colour images. A volume has three views.
    """

    version: Literal[1]
    channels: int
    mean: list[float]
    scale: list[float]
    directions: list[list[float]]
    variances: list[float]
    rest: float
    trained_on: int

    @model_validator(mode="after")
    def _check(self) -> Self:
        view = VIEW_VALUES + (self.channels if self.channels > 1 else 0)
        size, count = len(self.mean), len(self.variances)
        if size not in (view, 3 * view):
            raise ValueError(f"{view} means, or {3 * view} for volumes, with {plural(self.channels, 'channel')}")
        if len(self.scale) != size:
            raise ValueError(f"{size} scales, one per mean")
        if [len(direction) for direction in self.directions] != count * [size]:
            raise ValueError(f"{plural(count, 'direction')}, one per variance, of {size} values each, one per mean")
        return self


class RegionCheck(RegionModel):
    """The check stored with a network: images beyond a distance are refused."""

    limit: float
    calibrated_on: int


class MeasuredCheck(RegionCheck):
    """The check with its refusal rates on images that were not used to fit it."""

    false_refusal: RefusalRate
    other_regions: OtherRegions


class Decision(Part):
    """How the probabilities of a multilabel or node network become answers."""

    policy: str
    """youden, f1, precision P, cost C or a fixed number; most probable of a node's more than two classes."""
    split: Literal["val"] = "val"
    thresholds: dict[str, Share | None]
    """Probability from which each label, or the second of a node's two classes, is positive; null if none was found."""
    temperature: float | None = None
    """Of a node network: the probability is the softmax of the logits over it. Null: a sigmoid of each logit."""
    notes: list[str] = []
    """Why a threshold is null."""

    @classmethod
    def of(cls, policy: str, found: Mapping[str, Chosen], *, temperature: float | None = None) -> Decision:
        """Return the decision of thresholds by label or class."""
        decision = cls(
            policy=policy, thresholds={name: one.threshold for name, one in found.items()}, temperature=temperature
        )
        notes = [f"{name}: {one.reason}" for name, one in found.items() if one.reason is not None]
        return decision.with_changes(notes=notes) if notes else decision

    def positive_from(self, classes: Sequence[str]) -> float | None:
        """Return the probability from which the second of a node's two classes is the answer; None: the largest is."""
        return self.thresholds.get(classes[1]) if len(classes) == 2 else None

    def limits(self, names: Iterable[str]) -> list[float | None]:
        """Return the thresholds of some labels, in their order."""
        return [self.thresholds.get(name) for name in names]

    def cuts(self, names: Iterable[str]) -> list[float]:
        """Return the logits above which labels are positive; 0, a probability of one half, without a threshold.

        Of a node network, these are subtracted from the logits of the classes before the largest one is the answer.
        """
        scale = self.temperature or 1.0
        return [0.0 if limit is None else scale * math.log(limit / (1.0 - limit)) for limit in self.limits(names)]


class RegionInfo(Part):
    """A region as its network describes it."""

    region: str
    task: str = "classification"
    classes: list[str]
    modality: str | None = None
    decision: Decision | None = None
    """Null for other tasks than multilabel and node."""
    synthetic: bool = True
    grouped: bool | None = None
    """Whether the split kept the images of a patient together; false: by image, patients unknown. Null: not stated."""
    recall_at: list[Places] = []
    """Numbers or shares of nodes among which the recall is measured."""

    @property
    def cuts(self) -> list[float] | None:
        """Logits above which labels are positive, or structures that may overlap are there; None for other tasks."""
        if self.task not in ("multilabel", "structures"):
            return None
        return [0.0] * len(self.classes) if self.decision is None else self.decision.cuts(self.classes)

    @property
    def temperature(self) -> float | None:
        """By which the logits of a node network are divided before softmax; None for other tasks."""
        return None if self.decision is None else self.decision.temperature

    @property
    def offsets(self) -> list[float] | None:
        """What is subtracted from the logits of a node's classes before the largest one is the answer; else None."""
        if self.decision is None or self.temperature is None:
            return None
        return self.decision.cuts(self.classes)

    @property
    def words(self) -> Words:
        """What the samples of the region are called."""
        return words_of("node" if self.task == NODE else "image", self.grouped)

    def as_region(self) -> Region:
        """Return the region as described by the network."""
        return Region(
            name=self.region,
            task=self.task,
            classes=tuple(self.classes),
            modality=self.modality,
            synthetic=self.synthetic,
            grouped=self.grouped,
            recall_at=tuple(self.recall_at),
        )

    @staticmethod
    def describing(region: Region) -> dict[str, Any]:
        """Return the keys that describe a region, without its decision and whether its network is synthetic."""
        found = {
            "region": region.name,
            "task": region.task,
            "classes": list(region.classes),
            "modality": region.modality,
            "grouped": region.grouped,
        }
        return found | ({"recall_at": list(region.recall_at)} if region.recall_at else {})


class NetworkInfo(RegionInfo):
    """The common keys of `expert.json` and `export.json`: the network of one region."""

    image: ImageShape | None = None
    recipe: Recipe
    normalise: Normalisation | None = None
    in_region: MeasuredCheck | RegionCheck | None = None
    """Null if the network has no check."""
    sided: bool | None = None
    """Whether left and right differ, so that mirror images are not averaged; null if unknown."""
    parameters: int | None = None
    macs: int | None = None


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
