"""What the folders below a directory are: classes, parts of a split, patients, or something that no reader takes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lorkit.decompose.data.formats import dicom, nifti, pictures
from lorkit.decompose.data.formats.dicom_series import is_series
from lorkit.decompose.data.formats.listing import NOT_IMAGES, images_of, is_left_over
from lorkit.decompose.data.formats.registry import is_image
from lorkit.decompose.data.readers.class_folder import part_folders
from lorkit.decompose.data.readers.mask_layouts import FIX_PICTURES, FIX_VOLUMES, are_pairs, masks_among
from lorkit.decompose.data.samples.samples import known_part
from lorkit.decompose.errors import LorkitError, plural

_PATIENT = re.compile(r"(?i)^((patient|pat|subject|subj|sub|case|series|study|scan|exam|p|s|id)[-_ ]?\d|.*\d{3})")
_TABLE = "a CSV with the columns path and label"
LABELS_FIX = f"put them into one folder per class, or write {_TABLE} (docs/data.md)"


def folders_of(directory: Path) -> list[Path]:
    """Return the folders in a directory, without what an operating system leaves."""
    return sorted(child for child in directory.iterdir() if child.is_dir() and not is_left_over(child))


def holds_images(folder: Path) -> bool:
    """Tell whether an image lies directly in a folder."""
    return any(_images(folder))


def are_classes(folders: Sequence[Path]) -> bool:
    """Tell whether folders are classes: at least two hold images, directly or in folders of patients.

    Folders that are all named after parts, with images in them, are parts without classes.
    """
    if all(known_part(folder.name) for folder in folders):
        return False
    plain = sum(holds_images(folder) for folder in folders)
    return plain + _of_patients([folder for folder in folders if not holds_images(folder)]) >= 2


def are_parts(folders: list[Path]) -> bool:
    """Tell whether folders are parts, such as train and test, of which at least one has class folders."""
    parts, _ = part_folders(folders)
    return len(parts) > 1 and any(are_classes(folders_of(part)) for part in parts)


def problem_of(directory: Path) -> str:
    """Return why the folders of a directory, which look like classes or patients, are none that a reader takes."""
    folders = folders_of(directory)
    if are_pairs(folders):
        return f"holds images and their masks as pictures; {FIX_PICTURES}"
    some = [folder for folder in folders if holds_images(folder)]
    if any(masks_among([path for path in _images(folder) if nifti.accepts(path)]) for folder in some):
        return f"has a mask beside each volume; {FIX_VOLUMES}"
    named = [folder for folder in folders if _PATIENT.match(folder.name)]
    inner = [frozenset(child.name for child in folders_of(folder) if holds_images(child)) for folder in named]
    if len(named) >= 3 and len(named) == len(folders) and len(set().union(*inner)) < len(named) and any(inner):
        return f"has a folder for each patient, and classes inside; write {_TABLE} and patient (docs/data.md)"
    return ""


def what_is_there(directory: Path) -> str:
    """Say which images lie below a directory in no layout of labels, and what to do; empty if there is no image."""
    try:
        paths = images_of(directory)
    except LorkitError as error:
        return error.given
    counts = Counter(kind for path in paths if (kind := _kind(path)))
    if not counts:
        return ""
    found = " and ".join(plural(number, kind) for kind, number in counts.items())
    volumes = [path for path in paths if path.is_file() and nifti.accepts(path)]
    if volumes and masks_among(volumes):
        return f"has {found}, masks beside volumes; {FIX_VOLUMES}"
    return f"has {found} without labels; {LABELS_FIX}"


def _images(folder: Path) -> list[Path]:
    files = sorted(child for child in folder.iterdir() if child.is_file() and not is_left_over(child))
    return [path for path in files if path.suffix.lower() not in NOT_IMAGES and is_image(path)]


def _of_patients(folders: Sequence[Path]) -> int:
    """Return the number of classes whose images lie in folders of patients or of DICOM series.

    Regions of classes look alike: their inner folders do not have the names of patients.
    """
    inner = {folder: [child for child in folders_of(folder) if holds_images(child)] for folder in folders}
    inner = {folder: found for folder, found in inner.items() if found}
    names = Counter(child.name for found in inner.values() for child in found)
    if all(is_series(child) for found in inner.values() for child in found[:1]):
        return len(inner)
    patients = [folder for folder, found in inner.items() if all(_PATIENT.match(child.name) for child in found)]
    return len(patients) if max(names.values(), default=0) == 1 else 0


def _kind(path: Path) -> str:
    if path.is_dir():
        return "DICOM series"
    for name, module in (("picture", pictures), ("NIfTI file", nifti), ("DICOM file", dicom)):
        if module.accepts(path):
            return name
    return ""
