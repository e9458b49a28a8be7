"""Reader of image folders: `<root>/<class>/image.png`, or `<root>/{train,val,test}/<class>/image.png`.

A folder `unlabelled` beside the classes, or one that the region names so, is none of them. An image in a sub-directory
of its class (`<class>/<patient>/image.png`) is in the group of that name; others are groups of their own. A mask beside
its image (`a_mask.png` beside `a.png`) is no image of the class; folders of images and of their masks are no classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.formats import nifti
from lorkit.decompose.data.formats.listing import NOT_IMAGES, is_left_over
from lorkit.decompose.data.formats.registry import KNOWN, is_image
from lorkit.decompose.data.preprocessing.recipe import intensity_step
from lorkit.decompose.data.readers.dicom_patients import patients_in_headers
from lorkit.decompose.data.readers.image_files import FileImages, within
from lorkit.decompose.data.readers.mask_layouts import FIX_PICTURES, FIX_VOLUMES, are_pairs, masks_among
from lorkit.decompose.data.samples.open_files import OpenFiles
from lorkit.decompose.data.samples.samples import encode, known_part, order_classes
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import DataError, plural

UNLABELLED = "unlabelled"
"""Name of a folder of images without labels beside folders of classes."""


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
    beside = [child for child in _directories(root) if child.resolve() in unlabelled or is_unlabelled(child)]
    folders = [child for child in _directories(root) if child not in beside]
    parts, others = part_folders(folders)
    for holder in (root, *parts):
        _refuse_pairs(holder)
    found_rows = [_rows(root, _directories(child), known_part(child.name)) for child in parts]
    found_rows = found_rows or [_rows(root, folders, None)]
    rows = [row for some, _ in found_rows for row in some]
    if not rows:
        raise DataError(
            f"no images in {root}" if not parts else f"no class folders in {', '.join(map(str, parts))}",
            required=f"<class>/<image>: {KNOWN}",
            fix="name the folder that holds one sub-folder per class",
        )
    empty = [child for child, (some, _) in zip(parts, found_rows, strict=False) if not some]
    left_out = [*others, *empty] if parts else []
    masks = sum(count for _, count in found_rows)
    notices = [f"{', '.join(child.name for child in left_out)} beside the parts left out"] if left_out else []
    unnamed = [child.name for child in beside if child.resolve() not in unlabelled]
    notices += [f"{', '.join(unnamed)} is no class: name it as `unlabelled` of the region to use it"] if unnamed else []
    notices += [f"{plural(masks, 'mask')} beside their images left out"] if masks else []
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
        notices=(*notices, *(found.notices if found else ())),
        parts=tuple(row.part for row in rows),
        origin=str(root),
    )


def is_unlabelled(folder: Path) -> bool:
    """Tell by its name whether a folder beside classes has images without labels."""
    return folder.name.lower() == UNLABELLED


def _refuse_pairs(root: Path) -> None:
    folders = _directories(root)
    if are_pairs(folders):
        raise DataError(
            f"{root} holds {', '.join(folder.name for folder in folders)}: images and their masks, no classes",
            required="one folder per class",
            fix=f"for segmentation {FIX_PICTURES}",
        )


def _rows(root: Path, folders: Sequence[Path], part: str | None) -> tuple[list[_Row], int]:
    """Return the images of folders of classes, and how many masks beside them are left out."""
    rows, left_out = [], 0
    for folder in folders:
        paths = [path for path in sorted(folder.rglob("*")) if not path.is_dir() and _is_image(folder, path)]
        masks = {mask for some in _by_folder(paths) for mask in masks_among(some)}
        volume = next((path for path in paths if path in masks and nifti.accepts(path)), None)
        if volume is not None:
            raise DataError(
                f"{volume} is a mask beside its volume, no image of a class",
                required="one folder per class, without masks",
                fix=f"for segmentation {FIX_VOLUMES}",
            )
        left_out += len(masks)
        for path in paths:
            if path not in masks:
                inside = path.relative_to(folder).parts
                group = inside[0] if len(inside) > 1 else None
                name = path.relative_to(root).as_posix()
                rows.append(_Row(within(root, path, str(root)), name, folder.name, group, part))
    return rows, left_out


def _by_folder(paths: Sequence[Path]) -> list[list[Path]]:
    found: dict[Path, list[Path]] = {}
    for path in paths:
        found.setdefault(path.parent, []).append(path)
    return list(found.values())


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
