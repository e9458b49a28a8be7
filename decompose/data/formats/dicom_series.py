"""A folder of DICOM slices of one series as one volume.

Slices are sorted by their position along the normal of their plane, never by instance number or name.

Shapes: F slices, H rows, W columns; D H W the volume in right, anterior, superior axes.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.data.formats import dicom, nifti, pictures
from lorkit.decompose.data.formats.dicom_geometry import directions, letters, pixel_spacing
from lorkit.decompose.data.formats.stored import StoredImage
from lorkit.decompose.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset

_TOLERANCE = 1e-3  # of direction cosines, and of a slice distance as a share of it
_IRREGULAR = 0.05
_RAS = (("R", "L"), ("A", "P"), ("S", "I"))


class _Slice(NamedTuple):
    path: Path
    dataset: Dataset
    position: float


def slices_of(folder: Path) -> list[Path]:
    """Return the DICOM files directly in a folder, in order of their names; hidden files are left out."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return [path for path in files if path.name.upper() != "DICOMDIR" and dicom.accepts(path)]


def is_series(folder: Path) -> bool:
    """Tell whether a folder holds slices of one series, and no other image."""
    files = slices_of(folder)
    if len(files) < 2 or any(pictures.accepts(path) or nifti.accepts(path) for path in folder.iterdir()):
        return False
    found = set()
    for path in files:
        try:
            with dicom.refusing_damage(path):
                dataset = dicom.read_dataset(path, pixels=False)
        except DataError:  # whoever reads the file says what is wrong with it
            return False
        if int(dataset.get("NumberOfFrames") or 1) != 1 or "ImagePositionPatient" not in dataset:
            return False
        found.add(str(dataset.get("SeriesInstanceUID") or ""))
    return len(found) == 1


def read(folder: Path) -> StoredImage:
    """Read the slices of a folder to (F, H, W) float32 after the modality transform, sorted by position.

    Raises:
        DataError: A slice is damaged, or differs from the others in size, direction or spacing, or two slices lie at
            one position, or one is missing.
    """
    slices = _sorted(folder)
    images = [dicom.read(one.path) for one in slices]
    first = images[0]
    for one, image in zip(slices, images, strict=True):
        if image.values.shape != first.values.shape or image.spacing_mm != first.spacing_mm or image.dims != 2:
            raise DataError(
                f"{one.path} differs from the other slices in size or spacing",
                required="one series of equal slices per folder",
                fix="move it to a folder of its own",
            )
    distance, notes = _distance(folder, slices)
    axes = directions(slices[0].dataset)
    assert axes is not None
    order = letters(axes[[2, 0, 1]])
    return StoredImage(
        format="DICOM series",
        values=np.stack([image.values for image in images]),
        dims=3,
        limits=first.limits,
        lookup=first.lookup,
        inverted=first.inverted,
        padding=first.padding,
        orient=partial(_to_ras, order),
        spacing_mm=(distance, *(first.spacing_mm or ())),
        axes=order,
        group=first.group,
        notes=(f"{len(images)} slices sorted by position", *first.notes, *notes),
    )


def _sorted(folder: Path) -> list[_Slice]:
    found = []
    reference: NDArray[np.float64] | None = None
    for path in slices_of(folder):
        with dicom.refusing_damage(path):
            dataset = dicom.read_dataset(path, pixels=False)
            axes = directions(dataset)
            if axes is None or "ImagePositionPatient" not in dataset:
                raise ValueError("no ImagePositionPatient or ImageOrientationPatient")
            reference = axes if reference is None else reference
            if not np.allclose(axes, reference, atol=_TOLERANCE):
                raise ValueError("its plane has another orientation than the first slice of the folder")
            place = np.asarray(dataset.ImagePositionPatient, dtype=np.float64)
            found.append(_Slice(path, dataset, float(place @ reference[2])))
    return sorted(found, key=lambda one: one.position)


def _distance(folder: Path, slices: list[_Slice]) -> tuple[float, tuple[str, ...]]:
    steps = np.diff([one.position for one in slices])
    usual = float(np.median(steps))
    if steps.min() <= _TOLERANCE * max(usual, 1e-6):
        at = int(steps.argmin())
        raise DataError(
            f"{slices[at + 1].path} and {slices[at].path.name} lie at one position",
            required="one slice per position",
            fix="remove one of them, or split the series",
        )
    if float(np.abs(steps - usual).max()) > _IRREGULAR * usual:
        at = int(np.abs(steps - usual).argmax())
        raise DataError(
            f"{folder}: {steps[at]:.3f} mm between {slices[at].path.name} and {slices[at + 1].path.name}, "
            f"{usual:.3f} mm between others",
            required="slices at equal distances",
            fix="add the missing slice, or split the series",
        )
    stated = pixel_spacing(slices[0].dataset)[0]
    return round(usual, 6), () if stated else ("no pixel spacing stated",)


def _to_ras(order: str, values: NDArray[Any]) -> NDArray[Any]:
    """Turn (F, H, W), whose axes run along `order`, into right, anterior, superior axes."""
    axes = [next(axis for axis, letter in enumerate(order) if letter in pair) for pair in _RAS]
    turned = values.transpose(axes)
    flip = tuple(axis for axis, pair in zip(range(3), _RAS, strict=True) if order[axes[axis]] != pair[0])
    return np.ascontiguousarray(np.flip(turned, flip))
