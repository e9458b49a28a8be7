"""A folder of DICOM slices of one series as one volume.

Slices are sorted by their position along the normal of their plane, never by instance number or name.

Shapes: F slices, H rows, W columns; D H W the volume in right, anterior, superior axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.data.formats import dicom, nifti, pictures
from lorkit.decompose.data.formats.dicom_geometry import (
    Plane,
    Stack,
    affine_of,
    pixel_spacing,
    plane,
    stack,
    tilt_notes,
    to_ras,
)
from lorkit.decompose.data.formats.stored import StoredImage
from lorkit.decompose.errors import DataError, plural, reads

_WANTED = "an image file, or a folder of the slices of one series"


@reads(_WANTED)
def slices_of(folder: Path) -> list[Path]:
    """Return the DICOM files directly in a folder, in order of their names; hidden files are left out."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return [path for path in files if path.name.upper() != "DICOMDIR" and dicom.accepts(path)]


def is_series(folder: Path) -> bool:
    """Tell whether a folder holds slices of one series, each with its place in the patient, and no other image."""
    return why_no_series(folder) is None


@reads(_WANTED)
def why_no_series(folder: Path) -> str | None:
    """Return why a folder does not hold the slices of one series and no other image; None where it does."""
    files = slices_of(folder)
    if len(files) < 2:
        return f"it holds {plural(len(files), 'DICOM file')}"
    for path in sorted(folder.iterdir()):
        if path.is_file() and (pictures.accepts(path) or nifti.accepts(path)):
            return f"{path.name} is another image"
    first = None
    for path in files:
        try:
            with dicom.refusing_damage(path):
                dataset = dicom.read_dataset(path, pixels=False)
        except DataError:  # whoever reads the file says what is wrong with it
            return f"{path.name} cannot be read"
        for name in ("ImagePositionPatient", "ImageOrientationPatient"):
            if not str(dataset.get(name) or "").strip("[] "):
                return f"{path.name} states no {name}"
        if int(dataset.get("NumberOfFrames") or 1) != 1:
            return f"{path.name} holds several frames"
        series = str(dataset.get("SeriesInstanceUID") or "")
        first = series if first is None else first
        if series != first:
            return f"{path.name} is of another series than {files[0].name}"
    return None


def check_whole(path: Path, image: StoredImage) -> None:
    """Raise DataError for one slice of a DICOM series where a volume is needed; it says why it is alone."""
    if image.format != "DICOM" or image.dims == 3:
        return
    reason = why_no_series(path.parent)
    if reason is None or len(slices_of(path.parent)) < 2:
        text = "is one slice"
        fix = f"name its folder {path.parent}" if reason is None else "name the folder of a whole series"
    else:
        text = f"is one slice, and its folder is no series: {reason}"
        fix = "move what does not belong to the series to another folder"
    raise DataError(f"{path} {text}", required="a volume: the folder of the slices of one series", fix=fix)


class SeriesGrid(NamedTuple):
    """Where the voxels of a series lie.

    Attributes:
        paths: Its files, sorted by position.
        stack: Their directions, for files in this order.
        size: Rows and columns of a slice.
        affine_44: From (column, row, slice) to right, anterior, superior mm; None without a stated pixel spacing.
    """

    paths: tuple[Path, ...]
    stack: Stack
    size: tuple[int, int]
    affine_44: NDArray[np.float64] | None


@reads(_WANTED)
def read_grid(folder: Path) -> SeriesGrid:
    """Read where the voxels of a series lie, from the headers of its files.

    Raises:
        DataError: As `read`.
    """
    _check_series(folder)
    paths = slices_of(folder)
    planes = [_plane(path) for path in paths]
    found = stack(planes, [path.name for path in paths], str(folder))
    with dicom.refusing_damage(paths[0]):
        first = dicom.read_dataset(paths[0], pixels=False)
        spacing, _ = pixel_spacing(first)
        size = int(first.Rows), int(first.Columns)
    affine_44 = None if spacing is None else affine_of(planes, found, spacing)
    ordered = tuple(paths[index] for index in found.order)
    return SeriesGrid(ordered, found._replace(order=tuple(range(len(paths)))), size, affine_44)


@reads(_WANTED)
def read(folder: Path) -> StoredImage:
    """Read the slices of a folder to (F, H, W) float32 after the modality transform, sorted by position.

    Raises:
        DataError: The folder holds no such slices, one is damaged, or differs from the others in size, direction or
            spacing, or two lie at one position, or one is missing.
    """
    _check_series(folder)
    paths = slices_of(folder)
    found = stack([_plane(path) for path in paths], [path.name for path in paths], str(folder))
    paths = [paths[index] for index in found.order]
    images = [dicom.read(path) for path in paths]
    for path, image in zip(paths, images, strict=True):
        _check_alike(path, image, images[0])
    return _joined(images, found)


def _check_series(folder: Path) -> None:
    reason = why_no_series(folder)
    if reason is not None:
        raise DataError(
            f"{folder} holds no slices of one DICOM series: {reason}",
            required="an image file, or a folder of the slices of one series",
            fix="name its files",
        )


def _plane(path: Path) -> Plane:
    with dicom.refusing_damage(path):
        found = plane(dicom.read_dataset(path, pixels=False))
    assert found is not None  # `is_series` has seen it
    return found


def _check_alike(path: Path, image: StoredImage, first: StoredImage) -> None:
    one, other = ((each.values.shape, each.spacing_mm, each.inverted, each.dims) for each in (image, first))
    if one != other or image.dims != 2:
        raise DataError(
            f"{path} differs from the other slices in size, spacing or MONOCHROME1",
            required="one series of equal slices per folder",
            fix="move it to a folder of its own",
        )


def _joined(images: Sequence[StoredImage], found: Stack) -> StoredImage:
    first = images[0]
    limits = [image.limits for image in images if image.limits is not None]
    same_padding = len({image.padding for image in images}) == 1
    spacing = None if first.spacing_mm is None else (found.distance, *first.spacing_mm)
    warnings = [*tilt_notes(found)]
    if len({_window(image) for image in images}) > 1:
        warnings.append("slices state different windows: that of the first is used")
    if not same_padding:
        warnings.append("slices state different padding values: none is applied")
    if spacing is None:
        warnings.append(f"no pixel spacing stated; {found.distance:g} mm between slices")
    kept = {
        note for note in first.notes if note.startswith(("window", "VOI")) or all(note in each.notes for each in images)
    }
    shared = [note for note in first.notes if note in kept]
    apart = ["rescale by slice applied"] if len({_rescale(image) for image in images}) > 1 else []
    sorted_stack = found._replace(order=tuple(range(len(images))))
    return StoredImage(
        format="DICOM series",
        values=np.stack([image.values for image in images]),
        dims=3,
        limits=(min(low for low, _ in limits), max(high for _, high in limits)) if limits else None,
        lookup=first.lookup,
        inverted=first.inverted,
        padding=first.padding if same_padding else None,
        orient=partial(to_ras, sorted_stack),
        spacing_mm=spacing,
        voxel_ml=None if spacing is None else float(np.prod(spacing)) / 1e3,
        axes=found.axes,
        unit=first.unit if len({image.unit for image in images}) == 1 else None,
        group=first.group,
        notes=(f"{len(images)} slices sorted by position", *shared, *apart),
        warnings=tuple(warnings),
    )


def _window(image: StoredImage) -> str:
    arguments: Any = getattr(image.lookup, "args", None)
    return "" if arguments is None else str(arguments)


def _rescale(image: StoredImage) -> tuple[str, ...]:
    return tuple(note for note in image.notes if note.startswith("rescale"))
