"""Where the pixels of a DICOM image lie: spacing, axes, and the order of slices.

DICOM PS3.3 C.7.6.2. Positions and directions are in mm in the patient's axes, which run to the left, posterior and
superior (LPS).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.data.formats.dicom_values import functional_group
from lorkit.decompose.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset

_LETTERS = (("L", "R"), ("P", "A"), ("S", "I"))
_RAS = (("R", "L"), ("A", "P"), ("S", "I"))
_TOLERANCE = 1e-3  # of direction cosines, and of a slice distance as a share of it
_IRREGULAR = 0.05
_RIGHT_ANGLE = 0.02  # headers round direction cosines to a few digits


class Plane(NamedTuple):
    """Where a slice or frame lies: its first pixel in mm, and the directions of its rows, columns and normal."""

    position: NDArray[np.float64]
    directions_33: NDArray[np.float64]


class Stack(NamedTuple):
    """Parallel planes at equal distances.

    Attributes:
        order: Their indices, sorted along the normal.
        distance: Between neighbours, in mm.
        axes: Directions in which sorted planes, rows and columns run, such as "SPL".
        shift: How far each plane is moved within itself against the one before, in mm: not 0 where a gantry is tilted.
    """

    order: tuple[int, ...]
    distance: float
    axes: str
    shift: float


def pixel_spacing(dataset: Dataset) -> tuple[tuple[float, ...] | None, tuple[str, ...]]:
    """Return (between rows, between columns) in mm, and a note where it holds at the detector only.

    Raises:
        ValueError: It is not positive.
    """
    measures = functional_group(dataset, "PixelMeasuresSequence", 0)
    for holder, name in ((measures, "PixelSpacing"), (dataset, "PixelSpacing"), (dataset, "ImagerPixelSpacing")):
        found = None if holder is None else _numbers(holder, name, 2)
        if found is None:
            continue
        if not (found > 0).all():
            raise ValueError(f"{name} {found.tolist()}")
        return tuple(found.tolist()), ("spacing at the detector",) if name == "ImagerPixelSpacing" else ()
    return None, ()


def directions(dataset: Dataset, frame: int = 0) -> NDArray[np.float64] | None:
    """Return (3, 3): the unit vectors along which the row index, the column index and their normal run, else None.

    Raises:
        ValueError: They are not finite, not of length 1, or not at right angles.
    """
    holder = functional_group(dataset, "PlaneOrientationSequence", frame) or dataset
    values = _numbers(holder, "ImageOrientationPatient", 6)
    if values is None:
        return None
    along_columns, along_rows = values.reshape(2, 3)
    normal = np.cross(along_columns, along_rows)
    found = np.stack([along_rows, along_columns, normal])
    if not np.allclose(np.linalg.norm(found, axis=1), 1.0, atol=_RIGHT_ANGLE):
        raise ValueError(f"ImageOrientationPatient {values.tolist()}")
    return found


def plane(dataset: Dataset, frame: int = 0) -> Plane | None:
    """Return where a frame lies; None where its position or orientation is not stated.

    Raises:
        ValueError: A value is not finite, or directions are not at right angles.
    """
    holder = functional_group(dataset, "PlanePositionSequence", frame) or dataset
    position, found = _numbers(holder, "ImagePositionPatient", 3), directions(dataset, frame)
    return None if position is None or found is None else Plane(position, found)


def affine_of(planes: Sequence[Plane], found: Stack, spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Return (4, 4): from (column, row, slice in order) to right, anterior, superior mm, as in NIfTI.

    Slices that are moved within their planes (a tilted gantry) give a sheared affine, which places every voxel rightly.

    Args:
        planes: The planes of `found`, in the order in which it was given them.
        found: Their order.
        spacing: Between rows and between columns, in mm.
    """
    first, last = planes[found.order[0]], planes[found.order[-1]]
    rows, columns, _ = first.directions_33
    step = (last.position - first.position) / (len(planes) - 1)
    affine_44 = np.eye(4)
    affine_44[:3] = np.stack([columns * spacing[1], rows * spacing[0], step, first.position], axis=1)
    affine_44[:2] *= -1.0  # DICOM's axes run to the left and posterior
    return affine_44


def _numbers(holder: Dataset, name: str, count: int) -> NDArray[np.float64] | None:
    """Return a field of several numbers; None where it is absent or empty."""
    value = holder.get(name)
    if value is None or str(value).strip() in ("", "[]"):
        return None
    try:
        found = np.array([float(one) for one in np.atleast_1d(value)], dtype=np.float64)
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.size != count or not np.isfinite(found).all():
        raise ValueError(f"{name} {value}")
    return found


def stack(planes: Sequence[Plane], names: Sequence[str], where: str) -> Stack:
    """Sort planes by their position along their normal, never by number or name.

    Args:
        planes: Two or more.
        names: What each is called in messages.
        where: File or folder that holds them.

    Raises:
        DataError: They are not parallel, two lie at one position, or one is missing.
    """
    normal = planes[0].directions_33[2]
    for one, name in zip(planes, names, strict=True):
        if not np.allclose(one.directions_33, planes[0].directions_33, atol=_TOLERANCE):
            raise DataError(
                f"{where}: {name} has another orientation than {names[0]}",
                required="parallel slices",
                fix="move the others to a folder of their own",
            )
    heights = np.array([float(one.position @ normal) for one in planes])
    order = np.argsort(heights, kind="stable")
    steps = np.diff(heights[order])
    usual = float(np.median(steps))
    _check_steps(steps, usual, [names[index] for index in order], where)
    moved = planes[order[-1]].position - planes[order[0]].position
    shift = np.linalg.norm(moved - (moved @ normal) * normal) / (len(planes) - 1)
    axes = letters(planes[0].directions_33[[2, 0, 1]])
    return Stack(tuple(order.tolist()), round(usual, 6), axes, float(shift))


def _check_steps(steps: NDArray[np.float64], usual: float, names: Sequence[str], where: str) -> None:
    if steps.min() <= _TOLERANCE * max(usual, 1e-6):
        at = int(steps.argmin())
        raise DataError(
            f"{where}: {names[at]} and {names[at + 1]} lie at one position",
            required="one slice per position",
            fix="remove one of them, or split the series",
        )
    if float(np.abs(steps - usual).max()) > _IRREGULAR * usual:
        at = int(np.abs(steps - usual).argmax())
        raise DataError(
            f"{where}: {steps[at]:.3f} mm between {names[at]} and {names[at + 1]}, {usual:.3f} mm between others",
            required="slices at equal distances",
            fix="add the missing slice, or split the series",
        )


def tilt_notes(found: Stack) -> tuple[str, ...]:
    """Say so where slices are moved within their planes, as by a tilted gantry."""
    if found.shift <= _IRREGULAR * found.distance:
        return ()
    return (f"each slice is moved by {found.shift:.3g} mm in its plane (tilted gantry): not corrected",)


def letters(directions_K3: NDArray[np.float64]) -> str:
    """Return the anatomical direction of each row vector, such as "PL": no two share an axis of the patient."""
    cosines = np.abs(directions_K3)
    rows = range(len(directions_K3))
    best = max(
        permutations(range(3), len(directions_K3)), key=lambda axes: sum(cosines[row, axes[row]] for row in rows)
    )
    return "".join(_LETTERS[axis][int(directions_K3[row, axis] < 0)] for row, axis in enumerate(best))


def frame_axes(dataset: Dataset) -> str | None:
    """Return the directions in which rows and columns of a frame run."""
    found = directions(dataset)
    return None if found is None else letters(found[:2])


def to_ras(found: Stack, values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Sort (F, H, W), or (F, H, W, 3), and turn it into right, anterior, superior axes."""
    axes = [next(axis for axis, letter in enumerate(found.axes) if letter in pair) for pair in _RAS]
    sorted_ = values if found.order == tuple(range(len(values))) else values[list(found.order)]
    turned = sorted_.transpose([*axes, *range(3, values.ndim)])
    flip = tuple(axis for axis, pair in enumerate(_RAS) if found.axes[axes[axis]] != pair[0])
    return np.ascontiguousarray(np.flip(turned, flip))


def from_ras(found: Stack, values_RAS: NDArray[np.generic]) -> NDArray[np.generic]:
    """Turn a volume in right, anterior, superior axes back to (F, H, W), sorted: the inverse of `to_ras`."""
    axes = [next(axis for axis, letter in enumerate(found.axes) if letter in pair) for pair in _RAS]
    flip = tuple(axis for axis, pair in enumerate(_RAS) if found.axes[axes[axis]] != pair[0])
    return np.ascontiguousarray(np.flip(values_RAS, flip).transpose(np.argsort(axes)))
