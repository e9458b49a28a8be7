"""The registry of formats: which module reads a file. All of lorkit reads images through `open_image`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lorkit.decompose.data.formats import nifti, pictures
from lorkit.decompose.data.formats.stored import StoredImage
from lorkit.decompose.errors import DataError, reads


class Format(NamedTuple):
    """One kind of file: what it is called, whether it reads a path, and how."""

    name: str
    accepts: Callable[[Path], bool]
    read: Callable[[Path], StoredImage]


def _accepts_dicom(path: Path) -> bool:
    from lorkit.decompose.data.formats import dicom  # which takes as long to import as the rest, and reads no picture

    return dicom.accepts(path)


def _read_dicom(path: Path) -> StoredImage:
    from lorkit.decompose.data.formats import dicom

    return dicom.read(path)


# Tried in this order: DICOM last, because it looks into the file.
FORMATS = (
    Format("NIfTI (.nii, .nii.gz)", nifti.accepts, nifti.read),
    Format("PNG, JPEG, BMP or TIFF", pictures.accepts, pictures.read),
    Format("DICOM", _accepts_dicom, _read_dicom),
)

KNOWN = ", ".join(entry.name for entry in FORMATS)
_WANTED = "an image file"


@reads(_WANTED)
def is_image(path: Path) -> bool:
    """Tell whether a file is of a known format, by its name or its first bytes."""
    return any(entry.accepts(path) for entry in FORMATS)


@reads(_WANTED, fix="check the path and rights")
def open_image(path: Path) -> StoredImage:
    """Read one image: a file, or a folder of the DICOM slices of one series.

    Raises:
        DataError: It is missing, damaged, or of an unknown format.
    """
    if path.is_dir():
        from lorkit.decompose.data.formats import dicom_series

        return dicom_series.read(path)
    if not path.is_file():
        raise DataError(f"no file at {path}", required="an image file", fix="check the path")
    for entry in FORMATS:
        if entry.accepts(path):
            return entry.read(path)
    raise DataError(f"{path} has an unknown format", required=f"one of {KNOWN}", fix="convert it")
