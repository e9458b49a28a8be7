"""The result of `decompose evaluate`: accuracy of a model on one part of the data. An undefined metric is null."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lorkit.decompose.documents.base import Digest, Document, Interval, Part, Share
from lorkit.decompose.documents.scores import ClassificationScores, MultilabelScores, NodeScores, SegmentationScores
from lorkit.decompose.machine import Machine

ModelName = Literal["experts", "student", "foundation"]


class DataFile(Part):
    """A file that was used instead of a locked part."""

    name: str
    digest: Digest | None
    """Of the file, keyed by the file of the directory of runs; null for a folder, or without a key."""


class ClassificationEvaluation(ClassificationScores):
    """A region evaluated with a classifier."""

    task: Literal["classification"]
    classes: list[str]
    source: str
    synthetic: bool


class SegmentationEvaluation(SegmentationScores):
    """A region evaluated with a segmentation network."""

    task: Literal["segmentation", "structures"]
    """Structures: they may overlap, each by a sigmoid of its own; segmentation: a pixel has one at most, by softmax."""
    classes: list[str]
    source: str
    synthetic: bool


class MultilabelEvaluation(MultilabelScores):
    """A region evaluated with a multilabel network."""

    task: Literal["multilabel"]
    classes: list[str]
    source: str
    synthetic: bool
    threshold_policy: str | None
    """How validation chose the thresholds: youden, f1, precision P, cost C, or a number; null without thresholds."""


class NodeEvaluation(NodeScores):
    """A region evaluated with a network of nodes."""

    task: Literal["node"]
    classes: list[str]
    source: str
    synthetic: bool
    threshold_policy: str | None
    """How validation chose the threshold: f1, youden, precision P, cost C, a fixed number; null without one."""
    temperature: float | None
    """Of the probabilities, fitted on validation."""


RegionEvaluation = Annotated[
    ClassificationEvaluation | SegmentationEvaluation | MultilabelEvaluation | NodeEvaluation,
    Field(discriminator="task"),
]


class RegionShare(Part):
    """Share of the images of a region whose region is predicted right, with its interval over patients."""

    n: int
    right: Share
    ci: Interval


class RegionPrediction(Part):
    """How a router chose the region of each image."""

    source: Literal["live", "extracted"]
    policy: Literal["all-heads", "weighted", "routed"]
    """Its answer: that of the predicted region's head, or the mean of all heads."""
    abstain_below: Share
    """Confidence below which it gives no answer."""
    regions: dict[str, RegionShare]
    right: Share
    """Mean over regions; abstentions count by the region that would have answered."""
    ci: Interval
    abstained: Share
    confusion_by_region: dict[str, dict[str, int]]
    """Images by true region and by the region that answers them, abstentions last."""


class OutsideImages(Part):
    """Images of no region of the run."""

    data: DataFile
    n: int
    abstained: Share
    auroc: Share | None
    """Of the confidence: images of the run's regions against these."""
    ci: Interval | None
    answered_as: dict[str, dict[str, int]]
    """Images by their own label and by the region that answers them, abstentions last."""


class EvaluateDocument(Document):
    """A measurement of `decompose evaluate`."""

    kind: Literal["evaluate"] = "evaluate"
    created: str
    machine: Machine
    run: str | None
    run_digest: Digest | None
    model: ModelName
    split: Literal["train", "val", "test", "data"]
    flips: bool = False
    """Whether logits are means over images and their mirror images."""
    data: DataFile | None
    synthetic: bool
    regions: dict[str, RegionEvaluation]
    means: dict[str, float | None]
    """Means over regions by metric; null if undefined in a region."""
    mean_ci: dict[str, Interval | None]
    """95 % intervals of the means, over the patients of all regions."""
    predicted: dict[str, RegionEvaluation] | None = None
    """The same images answered without knowing their region; the answer of another region, or none, counts as wrong."""
    region_prediction: RegionPrediction | None = None
    """With `predicted`: how the regions were chosen."""
    outside: OutsideImages | None = None
