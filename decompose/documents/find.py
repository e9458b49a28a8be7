"""The result of `decompose data --find`."""

from __future__ import annotations

from typing import Literal

from lorkit.decompose.documents.base import Digest, Document, Part


class FoundCase(Part):
    """A sample whose digest begins as asked."""

    region: str
    digest: Digest
    """As in `splits.json`, and as the case in reports and in the JSON of the gate."""
    name: str
    """Its file, or its row, as the data name it."""
    source: str
    """File or directory of the samples of the region."""
    group: str
    """The patient, or what groups stand for; a keyed hash where it comes from a DICOM header."""
    target: str
    """Its class, its labels, or the digest of its mask."""
    part: Literal["train", "val", "test", "unlabelled"] | None
    """Null where the data cannot be split."""


class FindDocument(Document):
    """The samples of a configuration whose digest begins as asked."""

    kind: Literal["find"] = "find"
    find: str
    found: list[FoundCase]
