"""Where the pixels of a DICOM image lie: spacing, axes, and the order of slices.

DICOM PS3.3 C.7.6.2. Positions and directions are in mm in the patient's axes, which run to the left, posterior and
superior (LPS).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.data.formats.dicom_values import functional_group

if TYPE_CHECKING:
    from pydicom import Dataset

_LETTERS = (("L", "R"), ("P", "A"), ("S", "I"))


def pixel_spacing(dataset: Dataset) -> tuple[tuple[float, ...] | None, tuple[str, ...]]:
    """Return (between rows, between columns) in mm, and a note where it holds at the detector only.

    Raises:
        ValueError: It is not positive.
    """
    measures = functional_group(dataset, "PixelMeasuresSequence", 0)
    for holder, name in ((measures, "PixelSpacing"), (dataset, "PixelSpacing"), (dataset, "ImagerPixelSpacing")):
        values = None if holder is None else holder.get(name)
        if values is None or values == "":
            continue
        spacing = tuple(float(value) for value in values)
        if len(spacing) != 2 or not all(np.isfinite(side) and side > 0 for side in spacing):
            raise ValueError(f"{name} {spacing}")
        return spacing, ("spacing at the detector",) if name == "ImagerPixelSpacing" else ()
    return None, ()


def directions(dataset: Dataset) -> NDArray[np.float64] | None:
    """Return (3, 3): the unit vectors along which the row index, the column index and their normal run, else None."""
    plane = functional_group(dataset, "PlaneOrientationSequence", 0) or dataset
    values = plane.get("ImageOrientationPatient")
    if values is None or len(values) != 6:
        return None
    along_columns, along_rows = np.asarray(values, dtype=np.float64).reshape(2, 3)
    normal = np.cross(along_columns, along_rows)
    if not np.isfinite(normal).all() or np.linalg.norm(normal) < 0.5:
        raise ValueError(f"ImageOrientationPatient {list(values)}")
    return np.stack([along_rows, along_columns, normal])


def letters(directions_33: NDArray[np.float64]) -> str:
    """Return the anatomical direction that is nearest to each row vector, such as "PL"."""
    text = ""
    for vector in directions_33:
        axis = int(np.abs(vector).argmax())
        text += _LETTERS[axis][int(vector[axis] < 0)]
    return text


def frame_axes(dataset: Dataset) -> str | None:
    """Return the directions in which rows and columns of a frame run."""
    found = directions(dataset)
    return None if found is None else letters(found[:2])
