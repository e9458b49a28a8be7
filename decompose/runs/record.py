"""What the documents of a run say of its regions: of the form that their readers expect, and the same in all of them.

A run can be changed and sealed again. That is found here, before it leads a command anywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from lorkit.decompose.artifacts import MANIFEST, Manifest, read_json
from lorkit.decompose.documents.base import Digest, Part, Places, parse
from lorkit.decompose.errors import ArtifactError, DataError, UsageError
from lorkit.decompose.regions import RegionSet

_FIX = "restore it, or train again with --force"
_Part = Literal["train", "val", "test"]
_Parts = Annotated[dict[_Part, list[Digest]], Field(min_length=3)]


class RegionRow(Part):
    """A region as `regions.json` has it; see `Region`."""

    name: str
    task: str
    classes: list[str]
    modality: str | None
    synthetic: bool
    grouped: bool | None = None
    recall_at: list[Places] = Field(default=[])


class RegionsDocument(Part):
    """`regions.json`."""

    schema_version: Literal[1] = 1
    kind: Literal["regions"] = "regions"
    synthetic: bool = False
    regions: list[RegionRow] = Field(min_length=1)


class SplitsDocument(Part):
    """`splits.json`: the keyed digests of the cases of each part, one of their labels, and the key, by region."""

    schema_version: Literal[1] = 1
    kind: Literal["splits"]
    warnings: list[str] = Field(default=[])
    regions: dict[str, _Parts]
    labels: dict[str, Annotated[dict[_Part, Digest], Field(min_length=3)]]
    keys: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{16}$")]] = Field(default={})
    """Names of keys; empty in runs from before digests were keyed, whose locked cases are not read."""


def check_record(manifest: Manifest) -> None:
    """Check the documents that a run's manifest lists.

    Raises:
        ArtifactError: One has not the keys and types of its version, or they name different regions.
    """
    names = {file: read(manifest.path / file) for file, read in _READERS.items() if file in manifest.files}
    stated = manifest.extra.get("regions")
    if isinstance(stated, list):  # not in every older run
        names[MANIFEST] = tuple(map(str, stated))
    ordered = {found for file, found in names.items() if file != "splits.json"}
    if len(ordered) > 1 or len({frozenset(found) for found in names.values()}) > 1:
        said = "; ".join(f"{', '.join(found) or 'none'} in {file}" for file, found in names.items())
        raise ArtifactError(f"{manifest.path} has the regions {said}", required="the same in every file", fix=_FIX)


def _of_config(path: Path) -> tuple[str, ...]:
    from lorkit.decompose.config import load_config

    try:
        return tuple(load_config(path).regions)
    except UsageError as error:
        raise ArtifactError(f"{path} is damaged ({error.given})", required="an intact run", fix=_FIX) from None


def _of_regions(path: Path) -> tuple[str, ...]:
    document = read_json(path)
    parse(RegionsDocument, document, path, fix=_FIX)
    try:
        return RegionSet.from_json(document["regions"]).names
    except (UsageError, DataError) as error:
        raise ArtifactError(f"{path} is damaged ({error.given})", required="an intact run", fix=_FIX) from None


def _of_splits(path: Path) -> tuple[str, ...]:
    document = parse(SplitsDocument, read_json(path), path, fix=_FIX)
    if document.regions.keys() != document.labels.keys():
        raise ArtifactError(
            f"{path} has parts of {', '.join(document.regions)}, and labels of {', '.join(document.labels) or 'none'}",
            required="labels of every region",
            fix=_FIX,
        )
    return tuple(document.regions)


_READERS = {"regions.json": _of_regions, "splits.json": _of_splits, "config.yaml": _of_config}
