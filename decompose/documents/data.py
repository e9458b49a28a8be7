"""What `decompose data` finds in the data of a configuration before training."""

from __future__ import annotations

from typing import Literal

from lorkit.decompose.documents.base import Digest, Document, Part, PathText
from lorkit.decompose.documents.graphs import GraphFacts


class PartCounts(Part):
    """Cases of one part of the split, their groups, and cases by class."""

    n: int
    groups: int
    cases_by_class: dict[str, int]


class UnlabelledFacts(Part):
    """Images without labels."""

    n: int
    groups: int
    """Patients, or the images themselves."""
    digest: Digest


class RegionData(Part):
    """The data of a region."""

    source: str
    task: str
    modality: str | None
    synthetic: bool
    n: int
    """Images, or labelled nodes of a graph."""
    cases_by_class: dict[str, int]
    """Cases by class; of several labels per image, positive images by label."""
    uncertain: dict[str, int] | None = None
    """Images by label whose label is not known; absent without several labels per image."""
    groups: int
    """Patients, or the images themselves."""
    components: int
    """Sets of groups that share images and stay in one part."""
    smallest: list[int]
    """Sides of the smallest image in pixels or voxels."""
    largest: list[int]
    """Sides of the largest image in pixels or voxels."""
    spacing_range_mm: list[list[float]] | None = None
    """Smallest and largest distance of neighbours along each axis, of those that state one; absent without any.

    Axes are those of networks: right, anterior, superior of volumes that state their orientation.
    """
    channel_counts: list[int]
    """Every number of channels among the images."""
    dtypes: list[str]
    split: str
    """How the parts are made, such as stated or by group."""
    repeated_images: int
    conflicting_labels: int
    """Images given more than once with different labels."""
    leaks: list[str]
    """Training is refused while there are any."""
    parts: dict[str, PartCounts] | None
    """Null if none are stated and a leak prevents a split."""
    digest: Digest
    """Of the images and their labels."""
    graph: GraphFacts | None = None
    """Absent for images."""
    unlabelled: UnlabelledFacts | None = None
    """Absent without images without labels."""


class LoaderSpeed(Part):
    """Speed of the training loader and of preparation; null if not measured."""

    images_per_second: float | None
    prepared_per_second: float | None


class DataDocument(Document):
    """What `decompose data` found."""

    kind: Literal["data"] = "data"
    synthetic: bool
    regions: dict[str, RegionData]
    loader: LoaderSpeed
    sheet: PathText | None = None
    """The contact sheet; absent if none was written."""
