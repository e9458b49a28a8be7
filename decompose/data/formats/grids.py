"""Where the voxels of a volume lie, and whether a mask lies on the voxels of its image.

Files may store their axes in any order and direction: both are compared in right, anterior, superior axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.data.formats import dicom, dicom_series, nifti
from lorkit.decompose.errors import DataError, reads

_PAIRS = (("R", "L"), ("A", "P"), ("S", "I"))
_APART = 0.05  # of a voxel: headers are rounded


class Grid(NamedTuple):
    """The voxels of a volume in right, anterior, superior axes.

    Attributes:
        shape: Their number along each axis.
        affine_44: From their indices to mm.
        oriented: Whether the file states how its axes run; else they are as stored.
    """

    shape: tuple[int, ...]
    affine_44: NDArray[np.float64]
    oriented: bool = True

    @property
    def spacing(self) -> tuple[float, ...]:
        """The distance of neighbours along each axis, in mm."""
        return tuple(round(float(side), 6) for side in np.linalg.norm(self.affine_44[:3, :3], axis=0))


@reads("a NIfTI file, or a folder of the slices of one DICOM series")
def read_grid(path: Path) -> Grid:
    """Read where the voxels of a volume lie: of a NIfTI file, or of a folder of DICOM slices; headers only.

    Raises:
        DataError: It is neither, is damaged, holds several volumes, or states no pixel spacing.
    """
    if path.is_dir():
        found = dicom_series.read_grid(path)
        if found.affine_44 is None:
            raise DataError(f"{path} states no pixel spacing", required="PixelSpacing", fix="leave the series out")
        return _turned(found.stack.axes[::-1], (*found.size[::-1], len(found.paths)), found.affine_44, path)
    if not nifti.accepts(path):
        if path.is_file() and dicom.accepts(path):
            raise dicom.as_mask_or_volume(path)
        raise DataError(
            f"{path} is no volume",
            required="a NIfTI file (.nii, .nii.gz), or a folder of the slices of one DICOM series",
            fix="convert it",
        )
    image = nifti.load(path, voxels=False)
    shape = (*image.shape[:3], *[1] * (3 - len(image.shape[:3])))
    if not nifti.oriented(image):
        return Grid(shape, image.affine, oriented=False)
    return _turned(nifti.axes(image), shape, image.affine, path)


def check_same_grid(image: Path, mask: Path) -> tuple[float, ...]:
    """Return the spacing of an image's axes in mm, in the order in which networks take them.

    Raises:
        DataError: The mask has no value for every voxel of the image, or its voxels lie elsewhere.
    """
    one, two = read_grid(image), read_grid(mask)
    if one.oriented != two.oriented:
        path, other = (mask, "image") if one.oriented else (image, "mask")
        raise DataError(
            f"{path} states no orientation (qform_code and sform_code are 0), but its {other} does",
            required="equal affines of an image and its mask, up to the order and direction of axes",
            fix="correct the header",
        )
    if one.shape != two.shape:
        raise DataError(
            f"{mask} has shape {two.shape} for an image of {one.shape}",
            required="a value for every voxel of the image",
            fix="repair the pair or leave it out",
        )
    apart = _distance(one, two)
    if apart > _APART * min(one.spacing):
        raise DataError(
            f"{mask} and its image have different affines: voxels lie up to {apart:.3g} mm apart",
            required="equal affines of an image and its mask, up to the order and direction of axes",
            fix="resample the mask onto its image, or correct the header",
        )
    return one.spacing if image.is_dir() else nifti.network_spacing(nifti.load(image, voxels=False))


def _distance(one: Grid, two: Grid) -> float:
    """Return the largest distance of the corners of two grids of one shape, in mm."""
    corners_84 = np.array([(*corner, 1) for corner in product(*((0, side - 1) for side in one.shape))], dtype=float)
    return float(np.linalg.norm(corners_84 @ (one.affine_44 - two.affine_44).T, axis=1).max())


def _turned(letters: str, shape: Sequence[int], affine_44: NDArray[Any], where: Path) -> Grid:
    """Turn a grid whose axes run as letters such as "LAS" say into right, anterior, superior axes."""
    order = [next((axis for axis, letter in enumerate(letters) if letter in pair), -1) for pair in _PAIRS]
    if -1 in order:
        raise DataError(
            f"{where}: an axis has no direction ({letters})",
            required="an affine in which each axis runs along another direction",
            fix="correct the header",
        )
    turned_44 = np.eye(4)
    turned_44[:3, 3] = affine_44[:3, 3]
    for target, axis in enumerate(order):
        step = affine_44[:3, axis]
        backwards = letters[axis] != _PAIRS[target][0]
        turned_44[:3, target] = -step if backwards else step
        if backwards:
            turned_44[:3, 3] += step * (shape[axis] - 1)
    return Grid(tuple(int(shape[axis]) for axis in order), turned_44)
