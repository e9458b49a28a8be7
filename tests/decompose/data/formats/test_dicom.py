"""DICOM files: right values for every kind of file, and one line for what cannot be read."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import PIXELS, write_dicom

from lorkit.decompose.data.formats.dicom import accepts, read
from lorkit.decompose.errors import DataError

PACK = Path(os.environ.get("LORKIT_DATA", "../shared/data")) / "second" / "dicom"
CASES = PACK.parents[2] / "cases"
REFUSED = ("SEG", "RTDOSE")
LOSSY_ELSEWHERE = {"JPGExtended.dcm"}  # decoders of lossy 12-bit JPEG differ by their rounding


def rows() -> list[dict[str, str]]:
    path = PACK / "expected.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("row", [pytest.param(row, id=row["file"]) for row in rows()])
def test_a_real_file_has_the_values_that_independent_readers_find(row: dict[str, str]) -> None:
    path = PACK / "files" / row["file"]
    if row["expect_error"] or row["modality"] in REFUSED:
        with pytest.raises(DataError, match=row["file"]):
            read(path)
        return
    found = read(path)
    assert "x".join(map(str, found.values.shape)) == row["expected_shape"]
    if row["file"] in LOSSY_ELSEWHERE:
        with np.load(PACK / "expected_grid16.npz") as grids:
            np.testing.assert_allclose(block_means(found.values), grids[row["file"]], atol=float(row["tolerance"]))
    else:
        assert found.sha256 == row["expected_sha256_float32"]
    assert (found.format, found.inverted) == ("DICOM", row["photometric_interpretation"] == "MONOCHROME1")


def block_means(values: np.ndarray) -> np.ndarray:
    first = values.astype(np.float64)
    lines, columns = (np.array_split(np.arange(side), 16) for side in first.shape)
    return np.array([[first[np.ix_(line, column)].mean() for column in columns] for line in lines])


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not here")
@pytest.mark.parametrize("name", ["ok", "enhanced_shared", "empty_rescale"])
def test_a_rescale_is_found_where_it_stands(name: str) -> None:
    with np.load(CASES / "dicom-rescale" / "hu.npz") as right:
        np.testing.assert_array_equal(read(CASES / "dicom-rescale" / f"{name}.dcm").values, right["hu"])


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not here")
@pytest.mark.parametrize("name", ["00", "05", "09"])
def test_a_dicom_and_the_jpeg_that_it_holds_are_one_picture(name: str) -> None:
    from lorkit.decompose.data.formats import pictures

    folder = CASES / "dicom-ybr" / "us"
    np.testing.assert_array_equal(read(folder / f"{name}.dcm").values, pictures.read(folder / f"{name}.jpg").values)


@pytest.mark.parametrize("name", ["a.dcm", "a.DICOM", "IM0001"])
def test_a_dicom_file_is_known_by_name_or_content(tmp_path: Path, name: str) -> None:
    assert accepts(write_dicom(tmp_path / name))
    (tmp_path / "text").write_text("x" * 200, encoding="utf-8")
    assert not accepts(tmp_path / "text")


def test_a_file_without_meta_information_is_read(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(write_dicom(tmp_path / "a.dcm"))
    del dataset.file_meta
    dataset.preamble = None
    dataset.save_as(tmp_path / "b.dcm", implicit_vr=True, little_endian=True)
    np.testing.assert_array_equal(read(tmp_path / "b.dcm").values, PIXELS)


def test_colours_are_rgb(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    found = read(write_dicom(tmp_path / "a.dcm", pixels, **RGB))
    np.testing.assert_array_equal(found.values, pixels)
    assert (found.values.dtype, found.limits, found.dims) == (np.uint8, (0.0, 255.0), 2)


RGB: dict[str, Any] = {
    "SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "RGB",
    "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7,
}  # fmt: skip


def test_frames_are_a_first_axis(tmp_path: Path) -> None:
    frames = np.stack([PIXELS, PIXELS + 1])
    found = read(write_dicom(tmp_path / "a.dcm", frames, NumberOfFrames="2"))
    np.testing.assert_array_equal(found.values, frames)
    assert found.dims == 3


@pytest.mark.parametrize(
    ("tags", "key"),
    [
        ({"PatientID": " P1 ", "StudyInstanceUID": "1.2"}, "P1"),
        ({"PatientID": "", "StudyInstanceUID": "1.2"}, "study 1.2"),
        ({}, None),
    ],
)
def test_the_patient_is_the_group(tmp_path: Path, tags: dict[str, str], key: str | None) -> None:
    assert read(write_dicom(tmp_path / "a.dcm", **tags)).group == key


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"PhotometricInterpretation": "CMYK"}, r"is CMYK; required: MONOCHROME1"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, "is a segmentation object"),
        ({"RescaleSlope": "0", "RescaleIntercept": "1"}, "RescaleSlope 0"),
        ({"PixelSpacing": ["0", "1"]}, "PixelSpacing"),
        ({"ImageOrientationPatient": ["1", "0", "0", "1", "0", "0"]}, "ImageOrientationPatient"),
        ({"BitsAllocated": 17}, "cannot be decoded"),
    ],
)
def test_a_field_that_is_wrong_is_named(tmp_path: Path, tags: dict[str, Any], message: str) -> None:
    path = write_dicom(tmp_path / "a.dcm", **tags)
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert "a.dcm" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 100, 140, 300, -2, -8])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, keep: int) -> None:
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(write_dicom(tmp_path / "b.dcm").read_bytes()[:keep])
    with pytest.raises(DataError, match=r"cut\.dcm"):
        read(cut)


def test_a_missing_file_and_a_file_without_pixels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file at"):
        read(tmp_path / "none.dcm")
    dataset = pydicom.dcmread(write_dicom(tmp_path / "a.dcm"))
    del dataset.PixelData
    dataset.save_as(tmp_path / "b.dcm")
    with pytest.raises(DataError, match="holds no pixels"):
        read(tmp_path / "b.dcm")
