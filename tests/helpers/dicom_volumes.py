"""Small DICOM series of a volume, with all that a segmentation refers to, written for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
from dicom_files import write_dicom
from nibabel import orientations
from numpy.typing import NDArray

_LPS = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}


def write_series(
    folder: Path, values_RAS: NDArray[Any], affine_44: NDArray[np.float64], *, axes: str = "SPL", **tags: Any
) -> Path:
    """Write a volume in right, anterior, superior axes as slices, rows and columns that run along `axes`.

    File names run against the slices. The affine is diagonal but for its origin; values are from 0 to 4095.
    """
    folder.mkdir(parents=True, exist_ok=True)
    turn = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), orientations.axcodes2ornt(axes))
    stored = orientations.apply_orientation(values_RAS, turn)
    place_44 = affine_44 @ orientations.inv_ornt_aff(turn, values_RAS.shape)
    vectors = np.diag([-1.0, -1.0, 1.0]) @ place_44[:3, :3]  # LPS
    sides = np.linalg.norm(vectors, axis=0)
    directions = vectors / sides
    for index, pixels in enumerate(stored):
        position = np.diag([-1.0, -1.0, 1.0]) @ (place_44 @ [index, 0, 0, 1])[:3]
        path = folder / f"{len(stored) - index:03}.dcm"
        uid = f"1.2.826.0.1.3680043.{index + 1}"
        fields: dict[str, Any] = {
            "SOPClassUID": pydicom.uid.CTImageStorage, "SOPInstanceUID": uid, "Modality": "CT",
            "StudyInstanceUID": "1.2.3.4", "SeriesInstanceUID": "1.2.3.5", "FrameOfReferenceUID": "1.2.3.6",
            "PatientID": "P7", "PatientName": "Doe^Jane", "InstanceNumber": str(index + 1),
            "ImagePositionPatient": [f"{one:.6f}" for one in position],
            "ImageOrientationPatient": [f"{one:.6f}" for one in (*directions[:, 2], *directions[:, 1])],
            "PixelSpacing": [str(sides[1]), str(sides[2])], "SliceThickness": str(sides[0]),
            "RescaleSlope": "1", "RescaleIntercept": "-1000", **tags,
        }  # fmt: skip
        write_dicom(path, np.ascontiguousarray(pixels).astype(np.uint16), **fields)
        dataset = pydicom.dcmread(path)
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(path, enforce_file_format=True)
    return folder


def write_stored(path: Path, values_RAS: NDArray[Any], affine_44: NDArray[np.float64], axes: str) -> Path:
    """Write the same volume as NIfTI, stored along `axes`."""
    image = nib.Nifti1Image(values_RAS, affine_44)
    turn = orientations.ornt_transform(orientations.io_orientation(affine_44), orientations.axcodes2ornt(axes))
    nib.save(image.as_reoriented(turn), path)
    return path
