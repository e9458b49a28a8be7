"""Small DICOM files, written for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

# rows run to the right, columns to the front: both against the patient's axes of DICOM, and the normal upwards
AXES = ["-1", "0", "0", "0", "-1", "0"]
PIXELS = np.arange(16, dtype=np.uint16).reshape(4, 4) * 200


def write_dicom(path: Path, pixels: np.ndarray = PIXELS, **tags: Any) -> Path:
    """Write 12-bit gray pixels, or what `tags` make of them."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Rows, dataset.Columns = pixels.shape[-2:] if tags.get("SamplesPerPixel", 1) == 1 else pixels.shape[-3:-1]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_frames(path: Path, heights: list[float]) -> Path:
    """Write frames of one file that state their places, as enhanced CT and MR do; heights are in mm."""
    pixels = np.stack([PIXELS + index for index in range(len(heights))])
    item, plane, measures = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    plane.ImageOrientationPatient, measures.PixelSpacing = AXES, ["0.5", "0.25"]
    item.PlaneOrientationSequence, item.PixelMeasuresSequence = pydicom.Sequence([plane]), pydicom.Sequence([measures])
    return write_dicom(
        path, pixels, NumberOfFrames=str(len(heights)), SharedFunctionalGroupsSequence=pydicom.Sequence([item]),
        PerFrameFunctionalGroupsSequence=pydicom.Sequence([_placed(height) for height in heights]),
    )  # fmt: skip


def _placed(height: float) -> pydicom.Dataset:
    item, place = pydicom.Dataset(), pydicom.Dataset()
    place.ImagePositionPatient = ["0", "0", str(height)]
    item.PlanePositionSequence = pydicom.Sequence([place])
    return item
