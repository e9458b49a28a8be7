from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from lorkit.decompose.data.preprocessing.recipe import apply_recipe
from lorkit.decompose.documents.recipe import Recipe
from lorkit.decompose.errors import DataError, UsageError
from lorkit.export.prediction.inputs import expand, read, stem


def recipe(**intensity: Any) -> Recipe:
    return Recipe.model_validate({
        "version": 1,
        "steps": [
            {"op": "intensity", **(intensity or {"rule": "dtype"})},
            {"op": "resize", "size": [4, 4], "filter": "bilinear"},
            {"op": "channels", "count": 1},
            {"op": "normalise", "mean": [0.5], "std": [0.25]},
        ],
    })  # fmt: skip


WINDOW = recipe(rule="window", low=-160.0, high=240.0)
PIXELS = np.arange(16, dtype=np.uint16).reshape(4, 4) * 200


COLOUR: dict[str, Any] = {
    "SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "RGB", "BitsAllocated": 8,
    "BitsStored": 8, "HighBit": 7,
}  # fmt: skip


def write_dicom(path: Path, pixels: np.ndarray = PIXELS, **tags: Any) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Rows, dataset.Columns = pixels.shape[-2:] if pixels.ndim == 2 else pixels.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_dicom_gets_slope_and_intercept_under_a_window(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RescaleSlope="2", RescaleIntercept="-1024")
    np.testing.assert_array_equal(read(path, WINDOW), PIXELS.astype(np.float32) * 2 - 1024)


def test_dicom_is_scaled_by_its_stored_bits_without_a_window(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RescaleSlope="2", RescaleIntercept="-1024")
    np.testing.assert_allclose(read(path, recipe()), PIXELS / 4095, rtol=1e-6)
    assert apply_recipe(recipe(), read(path, recipe())).shape == (1, 4, 4)


def test_monochrome1_is_turned_over(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_allclose(read(path, recipe()), 1 - PIXELS / 4095, rtol=1e-5)
    np.testing.assert_array_equal(read(path, WINDOW), 4095 - PIXELS.astype(np.float32))


def test_signed_dicom_keeps_its_sign(tmp_path: Path) -> None:
    signed = PIXELS.astype(np.int16) - 1000
    path = write_dicom(tmp_path / "a.dcm", signed, PixelRepresentation=1)
    np.testing.assert_array_equal(read(path, WINDOW), signed.astype(np.float32))
    np.testing.assert_allclose(read(path, recipe()), (signed.astype(float) + 2048) / 4095, rtol=1e-5)


def test_dicom_without_a_suffix_is_known_by_its_content(tmp_path: Path) -> None:
    assert read(write_dicom(tmp_path / "IM0001"), recipe()).shape == (4, 4)


def test_colour_dicom_is_rgb(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    np.testing.assert_array_equal(read(write_dicom(tmp_path / "a.dcm", pixels, **COLOUR), recipe()), pixels)


def test_colour_dicom_of_luminance_is_turned_into_rgb_once(tmp_path: Path) -> None:
    gray = np.full((2, 2, 3), (100, 128, 128), np.uint8)  # no chroma: its colour is its luminance
    blue = np.full((2, 2, 3), (29, 255, 107), np.uint8)
    tags = COLOUR | {"PhotometricInterpretation": "YBR_FULL"}
    assert read(write_dicom(tmp_path / "a.dcm", gray, **tags), recipe())[0, 0].tolist() == [100, 100, 100]
    found = read(write_dicom(tmp_path / "b.dcm", blue, **tags), recipe())
    np.testing.assert_allclose(found[0, 0].astype(int), [0, 0, 255], atol=3)


def test_multi_frame_and_damaged_dicom_are_refused(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", np.stack([PIXELS] * 2)[0], NumberOfFrames="2")
    with pytest.raises(DataError, match=r"2 frames.*single-frame"):
        read(path, recipe())
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(write_dicom(tmp_path / "b.dcm").read_bytes()[:-8])
    with pytest.raises(DataError, match="cannot be decoded"):
        read(cut, recipe())
    (tmp_path / "none.dcm").write_bytes(b"text")
    with pytest.raises(DataError, match="cannot be decoded"):
        read(tmp_path / "none.dcm", recipe())
    with pytest.raises(DataError, match=r"PALETTE COLOR.*MONOCHROME1"):
        read(write_dicom(tmp_path / "p.dcm", PhotometricInterpretation="PALETTE COLOR"), recipe())


def test_a_nifti_slice_is_shown_as_a_radiologist_sees_it(tmp_path: Path) -> None:
    # stored with the first axis to the left and the second to the back: what a display has as columns and rows
    values = np.arange(12, dtype=np.float32).reshape(4, 3, 1)
    image = nib.Nifti1Image(values, np.diag([-1.0, -1.0, 1.0, 1.0]))
    nib.save(image, tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read(tmp_path / "a.nii.gz", WINDOW), values[..., 0].T)


def test_a_nifti_without_orientation_is_taken_as_it_is(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.uint8).reshape(4, 3)
    nib.save(nib.Nifti1Image(values, None), tmp_path / "a.nii")
    found = read(tmp_path / "a.nii", recipe())
    np.testing.assert_array_equal(found, values)
    assert found.dtype == np.uint8


def test_a_volume_says_what_is_required(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((4, 3, 5), np.float32), np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match=r"volume of shape \(4, 3, 5\).*required: a 2D slice"):
        read(tmp_path / "a.nii.gz", recipe())
    (tmp_path / "b.nii").write_bytes(b"no header")
    with pytest.raises(DataError, match="cannot be decoded"):
        read(tmp_path / "b.nii", recipe())


def test_a_csv_names_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "images" / "a.png")
    (tmp_path / "list.csv").write_text("id,path\n1,images/a.png\n", encoding="utf-8")
    assert expand([tmp_path / "list.csv"]) == [tmp_path / "images" / "a.png"]
    (tmp_path / "bad.csv").write_text("path\nimages/a.png\nimages/b.png\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.csv, line 3: no file"):
        expand([tmp_path / "bad.csv"])
    (tmp_path / "named.csv").write_text("file\na.png\n", encoding="utf-8")
    with pytest.raises(DataError, match="a column 'path'"):
        expand([tmp_path / "named.csv"])


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file at"):
        expand([tmp_path / "none.png"])
    with pytest.raises(UsageError, match="is a directory"):
        expand([tmp_path])
    with pytest.raises(UsageError, match="no input"):
        expand([])
    (tmp_path / "a.txt").write_text("text", encoding="utf-8")
    with pytest.raises(DataError, match=r"unknown format.*\.png"):
        read(tmp_path / "a.txt", recipe())


@pytest.mark.parametrize(
    ("name", "expected"), [("a.b.png", "a.b"), ("case.nii.gz", "case"), ("case.nii", "case"), ("IM1", "IM1")]
)
def test_the_stem_keeps_what_names_the_case(name: str, expected: str) -> None:
    assert stem(Path(name)) == expected
