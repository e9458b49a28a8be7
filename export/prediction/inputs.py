"""Read users' images: PNG, JPEG, BMP, TIFF, DICOM, NIfTI, or a CSV that lists such files.

Readers return inputs of a preprocessing recipe: (H, W) or (H, W, 3) of uint8, uint16 or float32, or a volume (D, H, W)
from a NIfTI file. For a recipe with a window, values are in physical units; otherwise they are scaled by the range that
the file states.

Shapes: H rows, W columns as displayed.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.data.readers.image_files import SUFFIXES, read_image
from lorkit.decompose.data.readers.nifti import read_volume
from lorkit.decompose.documents.recipe import Recipe
from lorkit.decompose.errors import DataError, UsageError
from lorkit.export.prediction.nifti_grid import is_nifti, oriented

if TYPE_CHECKING:
    from pydicom import Dataset

_NIFTI, _DICOM, _CSV = (".nii", ".nii.gz"), (".dcm", ".dicom"), ".csv"
_KNOWN = ", ".join((*SUFFIXES, *_DICOM, *_NIFTI, _CSV))
_DICOM_MAGIC = slice(128, 132)


def expand(inputs: Iterable[Path | str]) -> list[Path]:
    """Return image files in order, with each CSV replaced by the files of its `path` column.

    Paths in a CSV are relative to it.

    Raises:
        UsageError: There is no input, or one is a directory.
        DataError: A file is missing, or a CSV has no `path` column or no row.
    """
    found: list[Path] = []
    for path in map(Path, inputs):
        if path.is_dir():
            raise UsageError(f"{path} is a directory", required="image files or a CSV that lists them", fix=f"{path}/*")
        if not path.is_file():
            raise DataError(f"no file at {path}", required="an image file", fix="check the path")
        found += _listed(path) if path.suffix.lower() == _CSV else [path]
    if not found:
        raise UsageError("no input", required="at least one image", fix=f"name files ({_KNOWN})")
    return found


def stem(path: Path) -> str:
    """Return a file name without suffix, also without both parts of `.nii.gz`."""
    name = path.name
    return name[: -len(".nii.gz")] if name.lower().endswith(".nii.gz") else path.stem


def read(path: Path, recipe: Recipe) -> NDArray[Any]:
    """Read one image for `recipe`.

    Raises:
        DataError: The format is unknown, the file is damaged or has several frames, or a volume is needed or not
            supported.
    """
    windowed = recipe.intensity.rule == "window"
    name = path.name.lower()
    if recipe.dims == 3:
        return _read_volume(path)
    if is_nifti(path):
        return _read_nifti(path)
    if name.endswith(SUFFIXES):
        return read_image(path)
    if name.endswith(_DICOM) or _is_dicom(path):
        return _read_dicom(path, windowed=windowed)
    raise DataError(f"{path} has an unknown format", required=f"one of {_KNOWN}", fix="convert it")


def _listed(path: Path) -> list[Path]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            columns, rows = list(reader.fieldnames or ()), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path} is not a CSV ({error})", required="UTF-8 text with a header", fix="save it again"
        ) from None
    if "path" not in columns:
        raise DataError(f"{path} has columns {', '.join(columns)}", required="a column 'path'", fix="rename the column")
    files = [path.parent / (row["path"] or "").strip() for row in rows]
    for line, file in enumerate(files, start=2):
        if not file.is_file():
            raise DataError(f"{path}, line {line}: no file at {file}", required="an image file", fix="correct the path")
    return files


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(_DICOM_MAGIC.stop)[_DICOM_MAGIC] == b"DICM"


def _read_dicom(path: Path, *, windowed: bool) -> NDArray[Any]:
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's warnings on nonstandard values
            dataset = pydicom.dcmread(path)
            _check_dicom(path, dataset)
            pixels = np.asarray(dataset.pixel_array)
    except (
        InvalidDicomError,
        AttributeError,
        ValueError,
        NotImplementedError,
        RuntimeError,
        OSError,
        EOFError,
    ) as error:
        raise DataError(
            f"{path} cannot be decoded ({type(error).__name__}: {str(error)[:120]})",
            required="a DICOM image that pydicom can decode",
            fix="decompress it, for example with gdcmconv --raw",
        ) from None
    if pixels.ndim == 3:
        return _colour(path, pixels)
    return _physical(dataset, pixels) if windowed else _stored(dataset, pixels)


def _check_dicom(path: Path, dataset: Dataset) -> None:
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise DataError(f"{path} holds {frames} frames", required="a single-frame image", fix="export one frame")
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    if photometric not in ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422"):
        raise DataError(
            f"{path} is {photometric or 'without a photometric interpretation'}",
            required="MONOCHROME1, MONOCHROME2, RGB or YBR_FULL",
            fix="convert it",
        )


def _colour(path: Path, pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Check an image of colours, which pydicom has decoded to RGB, also from YBR."""
    if pixels.dtype != np.uint8:
        raise DataError(f"{path} has {pixels.dtype} colours", required="8 bits per colour", fix="convert it")
    return np.ascontiguousarray(pixels)


def _physical(dataset: Dataset, pixels: NDArray[Any]) -> Float32Array:
    """Apply slope and intercept; MONOCHROME1, where low is bright, is inverted in its stored range."""
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        low, high = _stored_range(dataset)
        pixels = low + high - pixels.astype(np.float64)
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    return (pixels.astype(np.float64) * slope + intercept).astype(np.float32)


def _stored(dataset: Dataset, pixels: NDArray[Any]) -> Float32Array:
    """Scale by the range of the stored bits, without slope and intercept, which would cancel out."""
    low, high = _stored_range(dataset)
    unit = np.clip((pixels.astype(np.float64) - low) / (high - low), 0.0, 1.0)
    inverted = (dataset.PhotometricInterpretation == "MONOCHROME1") != (float(dataset.get("RescaleSlope", 1)) < 0)
    return (1.0 - unit if inverted else unit).astype(np.float32)


def _stored_range(dataset: Dataset) -> tuple[float, float]:
    bits = int(dataset.BitsStored)
    if int(dataset.get("PixelRepresentation", 0)):
        return float(-(2 ** (bits - 1))), float(2 ** (bits - 1) - 1)
    return 0.0, float(2**bits - 1)


def _read_volume(path: Path) -> NDArray[Any]:
    if not is_nifti(path):
        raise DataError(
            f"{path} is not a volume",
            required="a NIfTI file (.nii, .nii.gz): this expert needs volumes",
            fix="convert a DICOM series with dcm2niix, or use an expert for 2D images",
        )
    return read_volume(path)


def _read_nifti(path: Path) -> NDArray[Any]:
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    try:
        image: Any = nib.load(path)
        turned = nib.as_closest_canonical(image) if oriented(image) else None
        values = np.asarray((turned or image).dataobj)
    except (ImageFileError, OSError, ValueError, EOFError, KeyError) as error:
        raise DataError(
            f"{path} cannot be decoded ({type(error).__name__}: {str(error)[:120]})",
            required="an intact NIfTI file",
            fix="replace the file",
        ) from None
    while values.ndim > 2 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 2:
        raise DataError(
            f"{path} is a volume of shape {tuple(values.shape)}",
            required="a 2D slice: this expert needs 2D images",
            fix="save the slice of interest as NIfTI or PNG",
        )
    if turned is not None:
        # axes point to the patient's right and front; displays have the right on the left and the front at the top
        values = values[::-1, ::-1].T
    return np.ascontiguousarray(values if values.dtype in (np.uint8, np.uint16) else values.astype(np.float32))
