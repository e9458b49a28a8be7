"""What `decompose evaluate` finds: how good a model is on one part of the data. An undefined metric is null."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lorkit.decompose.documents.base import Digest, Document, Part
from lorkit.decompose.documents.scores import ClassificationScores, SegmentationScores
from lorkit.decompose.machine import Machine

ModelName = Literal["experts", "student", "foundation"]


class DataFile(Part):
    """A file that was measured on in place of a locked part."""

    name: str
    sha256: Digest | None
    """Null of a folder."""


class ClassificationEvaluation(ClassificationScores):
    """A region that a classifier was measured on."""

    task: Literal["classification"]
    classes: list[str]
    source: str
    synthetic: bool


class SegmentationEvaluation(SegmentationScores):
    """A region that a segmenter was measured on."""

    task: Literal["segmentation"]
    classes: list[str]
    source: str
    synthetic: bool


RegionEvaluation = Annotated[ClassificationEvaluation | SegmentationEvaluation, Field(discriminator="task")]


class EvaluateDocument(Document):
    """A measurement of `decompose evaluate`."""

    kind: Literal["evaluate"] = "evaluate"
    created: str
    machine: Machine
    run: str | None
    run_digest: Digest | None
    model: ModelName
    split: Literal["train", "val", "test", "data"]
    data: DataFile | None
    synthetic: bool
    regions: dict[str, RegionEvaluation]
    mean: dict[str, float | None]
    """Means over regions by metric; null where a region leaves it undefined."""
