"""Reader of image folders: `<root>/<class>/image.png`, or `<root>/{train,val,test}/<class>/image.png`.

A folder beside the classes that the region names as `unlabelled` is none of them. An image in a sub-directory of its
class (`<class>/<patient>/image.png`) is in the group of that name; others are groups of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.formats.listing import NOT_IMAGES, is_left_over
from lorkit.decompose.data.formats.registry import KNOWN, is_image
from lorkit.decompose.data.preprocessing.recipe import intensity_step
from lorkit.decompose.data.readers.dicom_patients import patients_in_headers
from lorkit.decompose.data.readers.image_files import FileImages, within
from lorkit.decompose.data.samples.open_files import OpenFiles
from lorkit.decompose.data.samples.samples import encode, known_part, order_classes
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import DataError


class _Row(NamedTuple):
    path: Path
    name: str
    label: str
    group: str | None
    part: str | None


def accepts(entries: list[str]) -> int:
    """Return the number of leading data entries that this reader takes: 1 for a directory."""
    return int(Path(entries[0]).is_dir())


def read(entries: list[str], config: RegionConfig, files: OpenFiles | None = None) -> Source:
    """List a folder of classes; files are decoded on access.

    Raises:
        DataError: There is no class folder, a file is of an unknown kind, or a link leads out of the root.
    """
    root = Path(entries[0])
    unlabelled = {Path(entry).resolve() for entry in config.unlabelled or ()}
    folders = [child for child in _directories(root) if child.resolve() not in unlabelled]
    parts, others = part_folders(folders)
    rows = [row for child in parts for row in _rows(root, _directories(child), known_part(child.name))]
    rows = rows or _rows(root, folders, None)
    if not rows:
        raise DataError(
            f"no images in {root}",
            required=f"<class>/<image>: {KNOWN}",
            fix="name the folder that holds one sub-folder per class",
        )
    beside = (f"{', '.join(child.name for child in others)} beside the parts left out",) if parts and others else ()
    found = None if any(row.group for row in rows) else patients_in_headers([row.path for row in rows])
    groups = found.groups if found else tuple(row.group for row in rows)
    classes = config.classes or order_classes(row.label for row in rows)
    return Source(
        images=FileImages([row.path for row in rows], intensity_step(config), files),
        labels=encode([row.label for row in rows], str(root), classes),
        classes=classes,
        ids=tuple(row.name for row in rows),
        groups=tuple(group or row.name for group, row in zip(groups, rows, strict=True)),
        grouped=all(groups),
        identifying=found is not None,
        notices=(*beside, *(found.notices if found else ())),
        parts=tuple(row.part for row in rows),
        origin=str(root),
    )


def _rows(root: Path, folders: Sequence[Path], part: str | None) -> list[_Row]:
    rows = []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_dir() or not _is_image(folder, path):
                continue
            inside = path.relative_to(folder).parts
            group = inside[0] if len(inside) > 1 else None
            name = path.relative_to(root).as_posix()
            rows.append(_Row(within(root, path, str(root)), name, folder.name, group, part))
    return rows


def part_folders(folders: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the folders that are parts of a split, and the others: parts if all are, or several with classes."""
    parts = [child for child in folders if known_part(child.name)]
    several = len({known_part(child.name) for child in parts}) > 1 and all(map(_directories, parts))
    if len(parts) == len(folders) or several:
        return parts, [child for child in folders if child not in parts]
    return [], list(folders)


def _directories(directory: Path) -> list[Path]:
    return sorted(child for child in directory.iterdir() if child.is_dir() and not is_left_over(child))


def _is_image(folder: Path, path: Path) -> bool:
    inside = path.relative_to(folder).parts
    if any(is_left_over(Path(piece)) for piece in inside) or path.suffix.lower() in NOT_IMAGES:
        return False
    if not is_image(path):
        raise DataError(f"{path} is no image that this reader knows", required=KNOWN, fix="convert or move it")
    return True
