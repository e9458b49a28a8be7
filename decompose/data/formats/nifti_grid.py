"""Write a mask on the axes of a network's input onto the grid of its image, as NIfTI."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.data.formats import nifti

LABEL_INTENT = 1002
"""The standard's code of images whose values are labels."""
UNSPECIFIED = 0
"""The standard's code of header extensions without a registered kind: TotalSegmentator's tables of labels have it."""
_LEVEL = 6


def nifti_bytes(mask: NDArray[Any], path: Path, labels: bytes | None = None) -> bytes:
    """Return a mask as compressed NIfTI with the shape, affine and codes of its image file.

    Args:
        mask: As `on_file_grid` takes it; of an unsigned type.
        path: The image.
        labels: XML of the header extension that names its values, if there is one.
    """
    image = nifti.load(path, voxels=False)
    return _encoded(on_file_grid(mask, path), image.affine, image.header.copy(), labels)


def nifti_of_affine(values: NDArray[Any], affine_44: NDArray[np.float64], labels: bytes | None = None) -> bytes:
    """Return a mask (X, Y, Z) as compressed NIfTI with a given affine, in mm in the coordinates of the scanner.

    Args:
        values: The mask, of an unsigned type.
        affine_44: From its indices to right, anterior, superior mm.
        labels: As `nifti_bytes`.
    """
    import nibabel as nib

    header = nib.Nifti1Image(np.zeros((1, 1, 1), dtype=np.uint8), affine_44).header
    header.set_xyzt_units("mm")
    header.set_sform(affine_44, code="scanner")
    header.set_qform(affine_44, code="scanner", strip_shears=True)
    return _encoded(values, affine_44, header, labels)


def _encoded(values: NDArray[Any], affine_44: NDArray[np.float64], header: Any, labels: bytes | None) -> bytes:
    import nibabel as nib

    header.set_data_dtype(values.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0  # the image's display window would hide the mask
    header["intent_code"] = LABEL_INTENT
    header.extensions.clear()  # those of the image may hold what identifies a patient
    if labels is not None:
        header.extensions.append(nib.nifti1.Nifti1Extension(UNSPECIFIED, labels))
    kind: Any = nib.Nifti2Image if int(header["sizeof_hdr"]) == nib.Nifti2Header.sizeof_hdr else nib.Nifti1Image
    with nifti.quiet():
        data: bytes = kind(values, affine_44, header).to_bytes()
    return gzip.compress(data, compresslevel=_LEVEL, mtime=0)


def on_file_grid(mask: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return a mask on the axes and in the shape of its NIfTI file, as nibabel reads it.

    Args:
        mask: On the axes of the image as read: (H, W) as displayed, or a volume in RAS axes; without a stated
            orientation, on the axes of the file.
        path: The image, of which only the header is read.
    """
    from nibabel import orientations

    image = nifti.load(path, voxels=False)
    values = mask
    stored = orientations.io_orientation(image.affine)
    if nifti.oriented(image) and not np.isnan(stored).any():
        turned = _turned(image.shape, stored)
        # the inverse of reading: patient's right on the left, front at the top
        flat = mask if mask.ndim == 3 else mask.T[::-1, ::-1]
        back = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), stored)
        values = orientations.apply_orientation(flat.reshape(turned), back)
    return np.ascontiguousarray(values).reshape(image.shape)


def _turned(shape: Sequence[int], stored: NDArray[Any]) -> tuple[int, ...]:
    """Return the sides of a file's first three axes in right, anterior, superior order."""
    sides = [*shape[:3], *[1] * (3 - len(shape[:3]))]
    return tuple(sides[int(np.flatnonzero(stored[:, 0] == axis)[0])] for axis in range(3))
