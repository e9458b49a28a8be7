"""Write a mask on the axes of a network's input onto the grid of its NIfTI file."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np

from lorkit.decompose.artifacts.arrays import Mask

_SUFFIXES = (".nii", ".nii.gz")
_TO_MM = {"meter": 1e3, "mm": 1.0, "micron": 1e-3}


def is_nifti(path: Path) -> bool:
    """Return whether a file is NIfTI, by its name."""
    return path.name.lower().endswith(_SUFFIXES)


def oriented(image: Any) -> bool:
    """Return whether a NIfTI header states an orientation; otherwise axes are used as stored."""
    header = image.header
    return bool(int(header["qform_code"]) or int(header["sform_code"]))


def voxel_ml(path: Path) -> float:
    """Return the volume of one voxel in millilitres; a header without unit is in millimetres, as is usual."""
    header = _load(path).header
    sides = [float(side) * _TO_MM.get(header.get_xyzt_units()[0], 1.0) for side in header.get_zooms()[:3]]
    return float(np.prod(sides)) / 1e3


def nifti_bytes(mask: Mask, path: Path) -> bytes:
    """Return a mask as compressed NIfTI with the shape, affine and codes of its image file.

    Args:
        mask: On the axes of the image as read: (H, W) as displayed, or a volume in RAS axes.
        path: The image.
    """
    import nibabel as nib
    from nibabel import orientations

    image = _load(path)
    values = mask
    if mask.ndim == 3 or oriented(image):
        stored = orientations.io_orientation(image.affine)
        turned = nib.as_closest_canonical(image)
        # the inverse of reading: patient's right on the left, front at the top
        flat = mask if mask.ndim == 3 else mask.T[::-1, ::-1]
        back = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), stored)
        values = orientations.apply_orientation(flat.reshape(turned.shape), back)
    header = image.header.copy()
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0  # the image's display window would hide the mask
    written = nib.Nifti1Image(np.ascontiguousarray(values).reshape(image.shape), image.affine, header)
    data: bytes = written.to_bytes()
    return gzip.compress(data, compresslevel=6, mtime=0)


def _load(path: Path) -> Any:
    import nibabel as nib

    return nib.load(path)
