"""The result of `decompose clean`."""

from __future__ import annotations

from typing import Literal

from lorkit.decompose.documents.base import Document, Part, PathText


class Unneeded(Part):
    """A file or directory that no finished artifact needs."""

    path: PathText
    kind: Literal["checkpoints", "features", "left over", "interrupted"]
    """Of a finished training; of a teacher, computed again when asked for; of killed processes; for `--resume`."""
    size_bytes: int
    state: Literal["listed", "removed", "in use", "kept"]
    """In use: a process holds its lock. Kept: an interrupted training, without `--interrupted`."""


class CleanDocument(Document):
    """What nothing needs, and whether it was removed."""

    kind: Literal["clean"] = "clean"
    entries: list[Unneeded]
    size_bytes: int
    """Of all that is listed or was removed."""
