"""DICOM images: one frame, several frames, or a folder of slices of one series.

pydicom decodes, with the plugins of `dicom_codecs`, converts YBR to RGB, and applies palettes and lookup tables.

Shapes: F frames or slices, H rows, W columns.
"""

from __future__ import annotations

import contextlib
import math
import os
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.data.formats import dicom_values
from lorkit.decompose.data.formats.dicom_elements import open_bounded
from lorkit.decompose.data.formats.dicom_geometry import frame_axes, pixel_spacing, plane, stack, tilt_notes, to_ras
from lorkit.decompose.data.formats.dicom_values import functional_group
from lorkit.decompose.data.formats.limits import check_fits
from lorkit.decompose.data.formats.stored import StoredImage
from lorkit.decompose.errors import DataError
from lorkit.decompose.errors import refusing_damage as refuse

if TYPE_CHECKING:
    from pydicom import Dataset

SUFFIXES = (".dcm", ".dicom", ".ima")
_MAGIC = slice(128, 132)
_GROUP_LENGTH_AT = 8  # bytes after the magic: tag, type and length of the first element, whose value is the length
_CHUNK = 1 << 24
_MOST_DEFLATED = 1 << 30
_META_GROUP = 2
_NO_IMAGE = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation object",
    "1.2.840.10008.5.1.4.1.1.66.7": "a label map object",
    "1.2.840.10008.5.1.4.1.1.481.2": "a radiotherapy dose",
}
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2", "RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


def accepts(path: Path) -> bool:
    """Tell by its name or its first bytes whether a file is DICOM."""
    if path.name.lower().endswith(SUFFIXES):
        return True
    return _has_preamble(path)


def _has_preamble(path: Path) -> bool:
    with refuse(path, required="a file that can be read"), path.open("rb") as stream:
        return stream.read(_MAGIC.stop)[_MAGIC] == b"DICM"


def read(path: Path) -> StoredImage:
    """Read one file.

    Returns:
        Values after the modality transform: float32 gray, uint8 or uint16 colour; (H, W), (H, W, 3), or with a first
        axis of frames.

    Raises:
        DataError: The file is damaged, holds no image, or is of a kind that is no image of a patient.
    """
    with refusing_damage(path):
        dataset = read_dataset(path)
        _check(path, dataset)
        pixels = decode(dataset)
        return _stored(dataset, pixels)


@contextlib.contextmanager
def refusing_damage(path: Path) -> Iterator[None]:
    """Turn what pydicom and its decoders raise on damaged files into a `DataError` that names the file."""
    with (
        refuse(
            path, required="an intact DICOM image", fix="export it again, or leave it out", said="cannot be decoded"
        ),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # pydicom's remarks on values outside the standard
        yield


def read_dataset(path: Path, *, pixels: bool = True) -> Dataset:
    """Read a data set, also one without file meta information, as scanners send it."""
    import pydicom

    _check_deflated(path)
    with open_bounded(path) as stream:
        dataset = pydicom.dcmread(stream, force=True, stop_before_pixels=not pixels)
    if "SOPClassUID" not in dataset and "Rows" not in dataset:
        raise ValueError("no DICOM data set")
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        names = {(True, True): "ImplicitVRLittleEndian", (False, True): "ExplicitVRLittleEndian"}
        dataset.file_meta.TransferSyntaxUID = getattr(
            pydicom.uid, names.get((bool(implicit), bool(little)), "ExplicitVRBigEndian")
        )
    return dataset


def _check_deflated(path: Path) -> None:
    """Refuse a data set of few bytes that unpacks to very many, before pydicom unpacks all of it."""
    from pydicom import uid
    from pydicom.filereader import read_dataset, read_preamble

    if not _has_preamble(path):
        return
    with open_bounded(path) as stream:
        read_preamble(stream, force=False)
        meta = read_dataset(stream, False, True, stop_when=lambda tag, *_: tag >> 16 != _META_GROUP)
        if meta.get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
            return
    with path.open("rb") as stream:
        stream.seek(_MAGIC.stop + _GROUP_LENGTH_AT)
        stream.seek(int.from_bytes(stream.read(4), "little"), os.SEEK_CUR)
        unpacker, size, packed = zlib.decompressobj(-zlib.MAX_WBITS), 0, b""
        while packed := unpacker.unconsumed_tail or stream.read(_CHUNK):
            size += len(unpacker.decompress(packed, _CHUNK))
            if size > _MOST_DEFLATED:
                raise DataError(
                    f"{path} unpacks to more than {_MOST_DEFLATED >> 30} GiB",
                    required="a deflated data set of at most that",
                    fix="export it without compression",
                )
            if unpacker.eof:
                return


def count_frames(path: Path) -> int:
    """Return the frames of a file, from its header.

    Raises:
        DataError: The file is damaged, or of a kind that is no image of a patient.
    """
    with refusing_damage(path):
        dataset = read_dataset(path, pixels=False)
        _check_kind(path, dataset)
        return int(dataset.get("NumberOfFrames") or 1)


def _check_kind(path: Path, dataset: Dataset) -> None:
    kind = _NO_IMAGE.get(str(dataset.get("SOPClassUID", "")))
    if kind is not None:
        raise DataError(f"{path} is {kind}", required="a DICOM image", fix="name the images that it belongs to")


def _check(path: Path, dataset: Dataset) -> None:
    _check_kind(path, dataset)
    if not any(name in dataset for name in _PIXELS):
        raise DataError(f"{path} holds no pixels", required="a DICOM image", fix="leave it out")
    photometric = str(dataset.get("PhotometricInterpretation") or "")
    if photometric not in _PHOTOMETRIC:
        raise DataError(
            f"{path} is {photometric or 'without a photometric interpretation'}",
            required=", ".join(_PHOTOMETRIC),
            fix="convert it",
        )
    samples = int(dataset.get("SamplesPerPixel") or 1)
    if samples != (3 if photometric.startswith(("RGB", "YBR")) else 1):
        raise DataError(
            f"{path} is {photometric} with SamplesPerPixel {samples}",
            required="1 for gray, 3 for colour",
            fix="repair it",
        )
    check_fits(path, _pixel_bytes(dataset, samples), "its pixels")
    encapsulated = dataset.file_meta.TransferSyntaxUID.is_encapsulated
    stored, highest = dataset.get("BitsStored"), dataset.get("HighBit")
    if not encapsulated and None not in (stored, highest) and int(highest) != int(stored) - 1:
        raise DataError(
            f"{path} has HighBit {highest} with BitsStored {stored}",
            required="the lowest bits in use",
            fix="convert it",
        )


def as_mask_or_volume(path: Path) -> DataError:
    """Return why one DICOM file is neither the image nor the mask of a case: what it is, and what to do with it."""
    with refusing_damage(path):
        dataset = read_dataset(path, pixels=False)
        frames = int(dataset.get("NumberOfFrames") or 1)
    kind = _NO_IMAGE.get(str(dataset.get("SOPClassUID", "")))
    if kind is not None:
        given, fix = kind, "convert it to NIfTI: segimage2itkimage of dcmqi writes segmentations"
    elif frames > 1:
        given, fix = f"a DICOM file of {frames} frames", "convert it to NIfTI with dcm2niix"
    else:
        given, fix = "one DICOM slice", "name the folder of its series as the image; convert masks to NIfTI"
    return DataError(
        f"{path} is {given}",
        required="images as NIfTI files or folders of the slices of one DICOM series, and masks as NIfTI files",
        fix=fix,
    )


def _pixel_bytes(dataset: Dataset, samples: int) -> int:
    """Return the bytes of pixels, once as they are stored and once as float32."""
    count = math.prod(int(dataset.get(name) or 1) for name in ("Rows", "Columns", "NumberOfFrames")) * samples
    return count * (max(1, int(dataset.get("BitsAllocated") or 1) // 8) + 4)


def decode(dataset: Dataset) -> NDArray[Any]:
    """Return the stored pixels, gray or RGB, with an axis of frames only where there are several."""
    from pydicom.pixels.utils import pixel_array

    from lorkit.decompose.data.formats.dicom_codecs import plugin_of

    pixels = np.asarray(pixel_array(dataset, decoding_plugin=plugin_of(dataset.file_meta.TransferSyntaxUID)))
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames == 1 and pixels.shape[0] == 1 and pixels.ndim > 2:
        pixels = pixels[0]
    return np.asarray(pixels)


def _stored(dataset: Dataset, pixels: NDArray[Any]) -> StoredImage:
    colour = pixels.ndim > 2 and pixels.shape[-1] == 3 and dataset.SamplesPerPixel == 3
    transformed = dicom_values.transform(dataset, pixels, colour=colour)
    spacing, note = pixel_spacing(dataset)
    shape = transformed.values.shape
    dims = len(shape[:-1] if transformed.colour else shape)
    image = StoredImage(
        format="DICOM",
        values=transformed.values,
        dims=dims,
        limits=transformed.limits,
        lookup=transformed.lookup,
        inverted=str(dataset.PhotometricInterpretation) == "MONOCHROME1",
        padding=transformed.padding,
        spacing_mm=spacing if dims == 2 else None,
        axes=frame_axes(dataset) if dims == 2 else None,
        group=patient_key(dataset),
        unit=_unit(dataset),
        notes=(*transformed.notes, *note),
        warnings=transformed.warnings,
    )
    return _with_places(dataset, image, spacing) if dims == 3 else image


def _with_places(dataset: Dataset, image: StoredImage, spacing: tuple[float, ...] | None) -> StoredImage:
    """Add where the frames of an image lie, if its functional groups state a place for each."""
    frames = len(image.values)
    planes = [plane(dataset, frame) for frame in range(frames)]
    placed = [one for one in planes if one is not None]
    if len(placed) < frames or functional_group(dataset, "PlanePositionSequence", 0) is None:
        return _unplaced(image, "no positions of frames stated")
    try:
        found = stack(placed, [f"frame {frame + 1}" for frame in range(frames)], "frames")
    except DataError as error:
        return _unplaced(image, error.given)
    sides = None if spacing is None else (found.distance, *spacing)
    moved = () if found.order == tuple(range(frames)) else ("frames are sorted by position for a network of volumes",)
    return replace(
        image,
        spacing_mm=sides,
        voxel_ml=None if sides is None else float(np.prod(sides)) / 1e3,
        axes=found.axes,
        orient=partial(to_ras, found),
        notes=(*image.notes, *moved),
        warnings=(*image.warnings, *tilt_notes(found)),
    )


def _unplaced(image: StoredImage, reason: str) -> StoredImage:
    return replace(image, unplaced=reason, warnings=(*image.warnings, f"{reason}: axes as stored"))


def _unit(dataset: Dataset) -> str | None:
    """Return the unit of rescaled values: as stated, else HU for CT (PS3.3 C.8.2.1.1.2); US means unspecified."""
    stated = str(dataset.get("RescaleType") or "").strip()
    if stated:
        return None if stated == "US" else stated
    return "HU" if str(dataset.get("Modality") or "") == "CT" and "RescaleIntercept" in dataset else None


def patient_key(dataset: Dataset) -> str | None:
    """Return the patient's id, else the study's; None where neither is stated."""
    for name, prefix in (("PatientID", ""), ("StudyInstanceUID", "study ")):
        text = str(dataset.get(name) or "").strip()
        if text:
            return f"{prefix}{text}"
    return None
