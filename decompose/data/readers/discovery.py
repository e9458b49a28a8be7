"""Find data below a directory that the readers take, one region per source, to draft a configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lorkit.decompose.data.formats.listing import is_left_over
from lorkit.decompose.data.formats.registry import is_image
from lorkit.decompose.data.readers.class_folder import PART_DIRECTORIES
from lorkit.decompose.data.readers.csv_table import local_path, read_table
from lorkit.decompose.data.readers.npz import keys_of
from lorkit.decompose.errors import DataError
from lorkit.decompose.regions import RESERVED

_DEPTH = 4


@dataclass(frozen=True)
class FoundSource:
    """One data source; `problem` is the reason why it cannot become a region, else empty."""

    name: str
    path: Path
    problem: str = ""


def discover(root: Path) -> list[FoundSource]:
    """Return the data sources below a directory, in the order of their paths.

    These are `.npz` files with images and labels, CSV manifests with path and label, and folders of class folders. A
    region is named after the directory of its only source, else after the source itself.

    Raises:
        DataError: There is no such directory, or it has nothing that could become a region.
    """
    if not root.is_dir():
        raise DataError(f"no directory at {root}", required="a directory with data", fix="check the path")
    sources = list(_walk(root, _DEPTH))
    if not any(not problem for _, problem in sources):
        raise DataError(
            f"nothing to train on in {root}",
            required=".npz with images and labels, CSV with path and label, or <class>/<image> folders",
            fix="see docs/data.md for the layouts",
        )
    return _named(root, sources)


def _walk(directory: Path, depth: int) -> Iterator[tuple[Path, str]]:
    children = sorted(child for child in directory.iterdir() if not is_left_over(child))
    folders = [child for child in children if child.is_dir()]
    if sum(_holds_images(folder) for folder in folders) >= 2 or _holds_parts(folders):
        yield directory, ""
        return
    listed = set()
    for child in children:
        if child.suffix.lower() == ".npz":
            yield child, _npz_problem(child)
        elif child.suffix.lower() == ".csv" and _is_manifest(child):
            listed |= _folders_of(child)
            yield child, ""
    for folder in folders if depth else ():
        if folder not in listed:
            yield from _walk(folder, depth - 1)


def _holds_images(folder: Path) -> bool:
    return any(child.is_file() and not child.name.startswith(".") and is_image(child) for child in folder.iterdir())


def _holds_parts(folders: list[Path]) -> bool:
    """Return whether the folders are parts, such as train and test, each with class folders."""
    return len(folders) > 1 and all(
        folder.name.lower() in PART_DIRECTORIES
        and sum(_holds_images(child) for child in folder.iterdir() if child.is_dir()) >= 2
        for folder in folders
    )


def _folders_of(manifest: Path) -> set[Path]:
    """Return the folders beside a manifest whose images it lists: they are no further source."""
    first = {local_path(row["path"]).parts[:1] for _, row in read_table(manifest).rows}
    return {manifest.parent / parts[0] for parts in first if parts}


def _npz_problem(path: Path) -> str:
    try:
        keys = set(keys_of(path))
    except DataError as error:
        return error.given
    if "train_images" in keys or {"images", "labels"} <= keys:
        return ""
    if "masks" in keys:
        return "has masks: segmentation needs its own configuration (see docs/data.md)"
    return f"has {', '.join(sorted(keys)) or 'nothing'}, not images and labels"


def _is_manifest(path: Path) -> bool:
    try:
        return {"path", "label"} <= set(read_table(path).columns)
    except DataError:
        return False


def _named(root: Path, sources: list[tuple[Path, str]]) -> list[FoundSource]:
    found: list[FoundSource] = []
    for path, problem in sources:
        alone = sum(other.parent == path.parent for other, _ in sources) == 1
        text = path.parent.name if path.is_file() and alone and path.parent != root else path.stem
        name = _region_name(text)
        taken = {other.name for other in found}
        number = next(
            count for count in range(1, len(sources) + 2) if (f"{name}-{count}" if count > 1 else name) not in taken
        )
        found.append(FoundSource(f"{name}-{number}" if number > 1 else name, path, problem))
    return found


def _region_name(text: str) -> str:
    name = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:48] or "region"
    name = name if name[0].isalpha() else f"region-{name}"
    return f"{name}-region" if name in RESERVED else name
