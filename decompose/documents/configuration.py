"""What `decompose init` wrote."""

from __future__ import annotations

from typing import Literal

from lorkit.decompose.documents.base import Document, Part, PathText


class WrittenConfiguration(Part):
    """A configuration and its regions."""

    config: PathText
    region_names: list[str]


class FoundColumn(Part):
    """What a column of a table is taken for, and why."""

    name: str
    role: str
    why: str


class ProposedSplit(Part):
    """The split that the graphs allow."""

    by: Literal["group", "random", "entity", "temporal", "neighbour"]
    entities: list[str]
    """Relations whose keys stay in one part."""


class InitDocument(Document):
    """The configurations that `decompose init` wrote."""

    kind: Literal["init"] = "init"
    config: PathText
    """The first file."""
    region_names: list[str]
    """Of the first file."""
    files: list[WrittenConfiguration]
    skipped: dict[str, str]
    """Why a path became no region, by path."""
    notes: list[str]
    columns: dict[str, list[FoundColumn]] | None = None
    """By region; absent without graphs."""
    proposed_split: ProposedSplit | None = None
    """Absent without graphs."""
