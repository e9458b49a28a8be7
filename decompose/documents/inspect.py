"""What `decompose inspect` finds: how lorkit reads a file, and whether an artifact is what it says."""

from __future__ import annotations

from typing import Literal

from lorkit.decompose.documents.base import Digest, Document, Part


class InspectedFile(Part):
    """One image as the reader of training, evaluation and prediction reads it."""

    path: str
    format: str
    """PNG, JPEG, BMP, TIFF, DICOM, DICOM series or NIfTI."""
    shape: list[int]
    """As stored, with frames or slices first; colour last."""
    min_value: float | None
    max_value: float | None
    mean_value: float | None
    sha256: Digest
    """Of the values as float32, in C order, little endian."""
    spacing_mm: list[float] | None
    """Distance of neighbours along each spatial axis."""
    axes: str | None
    """Anatomical direction in which each spatial axis runs, such as RAS."""
    inverted: bool
    """Whether low values are shown bright."""
    group: str | None
    """Keyed hash of the patient; null where the file does not state one."""
    notes: list[str]
    """What was applied or ignored."""


class InspectedParent(Part):
    """The artifact that another was made from."""

    path: str
    kind: str
    sha256: Digest
    holds: bool | None
    """Whether it is still this artifact; null where it is not there."""


class InspectedArtifact(Part):
    """One artifact directory."""

    path: str
    kind: str
    created: str
    synthetic: bool
    sha256: Digest
    """Of its manifest."""
    region: str | None
    parents: list[InspectedParent]
    file_count: int
    problem: str | None
    """The first file that is missing or has changed; null where all digests hold."""


class InspectDocument(Document):
    """What `decompose inspect` found."""

    kind: Literal["inspect"] = "inspect"
    files: list[InspectedFile]
    artifacts: list[InspectedArtifact] = []
    """Absent where no artifact was named."""
