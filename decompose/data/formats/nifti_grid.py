"""Write a mask on the axes of a network's input onto the grid of its NIfTI file."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.data.formats import nifti


def nifti_bytes(mask: NDArray[np.uint8], path: Path) -> bytes:
    """Return a mask as compressed NIfTI with the shape, affine and codes of its image file.

    Args:
        mask: As `on_file_grid` takes it.
        path: The image.
    """
    import nibabel as nib

    image = nifti.load(path)
    header = image.header.copy()
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0  # the image's display window would hide the mask
    values = on_file_grid(mask, path)
    with nifti.quiet():
        written = nib.Nifti1Image(values, image.affine, header)
        data: bytes = written.to_bytes()
    return gzip.compress(data, compresslevel=6, mtime=0)


def on_file_grid(mask: NDArray[np.uint8], path: Path) -> NDArray[np.uint8]:
    """Return a mask on the axes and in the shape of its NIfTI file, as nibabel reads it.

    Args:
        mask: On the axes of the image as read: (H, W) as displayed, or a volume in RAS axes; without a stated
            orientation, on the axes of the file.
        path: The image.
    """
    import nibabel as nib
    from nibabel import orientations

    image = nifti.load(path)
    values = mask
    if nifti.oriented(image):
        stored = orientations.io_orientation(image.affine)
        with nifti.quiet():
            turned = nib.as_closest_canonical(image)
        # the inverse of reading: patient's right on the left, front at the top
        flat = mask if mask.ndim == 3 else mask.T[::-1, ::-1]
        back = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), stored)
        values = orientations.apply_orientation(flat.reshape(turned.shape), back)
    return np.ascontiguousarray(values).reshape(image.shape)
