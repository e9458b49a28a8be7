"""The result of `decompose pack`."""

from __future__ import annotations

from typing import Literal

from lorkit.decompose.documents.base import Digest, Document, Part, PathText


class LeftOut(Part):
    """A directory of the run that is not in the archive."""

    file_count: int
    size_bytes: int


class PackDocument(Document):
    """An archive of a run."""

    kind: Literal["pack"] = "pack"
    run: str
    """Name of the run, and of the directory in the archive."""
    archive: PathText
    sha256: Digest
    size_bytes: int
    file_count: int
    left_out: dict[str, LeftOut]
    """By name in the run: `checkpoints`, and `exports/foundation`, which `decompose export` makes again."""
