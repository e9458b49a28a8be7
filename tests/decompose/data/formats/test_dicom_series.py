"""A folder of slices: sorted by position, checked, and turned into the axes of networks."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import AXES, PIXELS, write_dicom, write_frames

from lorkit.decompose.data.formats import dicom
from lorkit.decompose.data.formats.dicom_series import check_whole, is_series, read, slices_of
from lorkit.decompose.data.formats.stored import network_values
from lorkit.decompose.documents.recipe import Intensity
from lorkit.decompose.errors import DataError

PACK = Path(os.environ.get("LORKIT_DATA", "../shared/data")) / "second" / "dicom" / "series"


def series(folder: Path, positions: list[float], **tags: Any) -> Path:
    folder.mkdir(exist_ok=True)
    for index, z in enumerate(positions):
        write_dicom(
            folder / f"{len(positions) - index:03}.dcm",
            PIXELS + index,
            **{
                "SeriesInstanceUID": "1.2.9", "ImagePositionPatient": ["0", "0", str(z)], "InstanceNumber": "1",
                "ImageOrientationPatient": AXES, "PixelSpacing": ["0.5", "0.25"], "PatientID": "P7", **tags,
            },
        )  # fmt: skip
    return folder


def test_slices_are_sorted_by_position(tmp_path: Path) -> None:
    found = read(series(tmp_path / "a", [4.0, 0.0, 2.0, 6.0]))
    np.testing.assert_array_equal(found.values, [PIXELS + index for index in (1, 2, 0, 3)])
    assert (found.spacing_mm, found.axes, found.group) == ((2.0, 0.5, 0.25), "SAR", "P7")
    assert found.notes[0] == "4 slices sorted by position"
    # (right, anterior, superior) index of one voxel: column, row, slice
    assert found.orient(found.values)[3, 1, 2] == found.values[2, 1, 3]


@pytest.mark.parametrize(("axes", "flip"), [(["1", "0", "0", "0", "1", "0"], (0, 1)), (AXES, ())])
def test_axes_are_turned_to_right_anterior_superior(tmp_path: Path, axes: list[str], flip: tuple[int, ...]) -> None:
    found = read(series(tmp_path / "a", [0.0, 1.0, 2.0], ImageOrientationPatient=axes))
    np.testing.assert_array_equal(found.orient(found.values), np.flip(found.values.transpose(2, 1, 0), flip))


def test_a_series_is_known(tmp_path: Path) -> None:
    folder = series(tmp_path / "a", [0.0, 1.0])
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "notes.txt").write_text("x", encoding="utf-8")
    assert is_series(folder)
    assert len(slices_of(folder)) == 2
    write_dicom(folder / "other.dcm", SeriesInstanceUID="1.2.8", ImagePositionPatient=["0", "0", "9"])
    assert not is_series(folder)
    assert not is_series(series(tmp_path / "one", [0.0]))
    for name in ("a.png", "damaged.dcm"):
        mixed = series(tmp_path / f"with {name}", [0.0, 1.0])
        (mixed / name).write_text("no image", encoding="utf-8")
        assert not is_series(mixed)
    (tmp_path / "pictures").mkdir()
    for name in ("a.dcm", "b.dcm"):
        write_dicom(tmp_path / "pictures" / name)
    assert not is_series(tmp_path / "pictures"), "single pictures state no position"


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([0.0, 1.0, 1.0], "lie at one position"),
        ([0.0, 1.0, 2.0, 4.0, 5.0], r"2\.000 mm between .*, 1\.000 mm between others"),
    ],
)
def test_a_missing_or_double_slice_is_refused(tmp_path: Path, positions: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(series(tmp_path / "a", positions))


def test_slices_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = series(tmp_path / "a", [0.0, 1.0])
    extra: dict[str, Any] = {"SeriesInstanceUID": "1.2.9", "ImagePositionPatient": ["0", "0", "2"],
                             "PixelSpacing": ["0.5", "0.25"]}  # fmt: skip
    write_dicom(folder / "z.dcm", ImageOrientationPatient=["1", "0", "0", "0", "0", "-1"], **extra)
    with pytest.raises(DataError, match=r"z\.dcm.*another orientation"):
        read(folder)
    write_dicom(folder / "z.dcm", PIXELS[:2], ImageOrientationPatient=AXES, **extra)
    with pytest.raises(DataError, match=r"z\.dcm differs from the other slices"):
        read(folder)
    write_dicom(folder / "z.dcm", PhotometricInterpretation="MONOCHROME1", ImageOrientationPatient=AXES, **extra)
    with pytest.raises(DataError, match=r"z\.dcm differs.*MONOCHROME1"):
        read(folder)
    write_dicom(folder / "z.dcm", SeriesInstanceUID="1.2.9")
    assert not is_series(folder), "a slice without a place in the patient"
    with pytest.raises(DataError, match="holds no slices of one DICOM series"):
        read(folder)


@pytest.mark.parametrize("field", ["ImagePositionPatient", "ImageOrientationPatient"])
def test_a_place_that_is_no_number_is_refused(tmp_path: Path, field: str) -> None:
    folder = series(tmp_path / "a", [0.0, 1.0, 2.0])
    path = folder / "002.dcm"
    data, tag = path.read_bytes(), pydicom.tag.Tag(field)
    start = data.index(struct.pack("<HH2s", tag.group, tag.element, b"DS")) + 8
    path.write_bytes(data[:start] + b"nan\\" + data[start + 4 :].replace(b"\\", b" ", 1))
    with pytest.raises(DataError, match=rf"002\.dcm.*{field}"):
        read(folder)


def test_oblique_slices_get_one_axis_of_the_patient_each(tmp_path: Path) -> None:
    half = "0.70710678"
    folder = series(tmp_path / "a", [0.0], ImageOrientationPatient=[half, "0", f"-{half}", "0", "1", "0"])
    for index in (1, 2):
        place = [str(index), "0", str(index)]
        series(tmp_path / f"b{index}", [0.0], ImagePositionPatient=place,
               ImageOrientationPatient=[half, "0", f"-{half}", "0", "1", "0"])  # fmt: skip
        (tmp_path / f"b{index}" / "001.dcm").rename(folder / f"{index}.dcm")
    found = read(folder)
    assert sorted("LPS".index(letter) if letter in "LPS" else "RAI".index(letter) for letter in found.axes or "") == [
        0,
        1,
        2,
    ]
    assert (found.spacing_mm or ())[0] == pytest.approx(np.sqrt(2))
    assert sorted(found.orient(found.values).shape) == sorted(found.values.shape)


def test_slices_with_their_own_rescale_and_window(tmp_path: Path) -> None:
    folder = series(tmp_path / "a", [0.0])
    for index in (1, 2):
        series(
            tmp_path / "b", [float(index)], RescaleSlope=str(1 + index), WindowCenter=str(100 * index), WindowWidth="9"
        )
        (tmp_path / "b" / "001.dcm").rename(folder / f"{index}.dcm")
    found = read(folder)
    np.testing.assert_array_equal(found.values, [PIXELS * slope for slope in (1, 2, 3)])
    assert found.limits == (0.0, 4095.0 * 3)
    assert found.warnings == ("slices state different windows: that of the first is used",)
    assert "rescale by slice applied" in found.notes


def test_a_tilted_gantry_is_said(tmp_path: Path) -> None:
    folder = series(tmp_path / "a", [0.0])
    series(tmp_path / "b", [0.0], ImagePositionPatient=["0", "0.5", "2"])
    (tmp_path / "b" / "001.dcm").rename(folder / "2.dcm")
    found = read(folder)
    assert (found.spacing_mm or ())[0] == 2.0
    assert "moved by 0.5 mm" in found.warnings[0]


def test_colour_slices_are_turned_too(tmp_path: Path) -> None:
    pixels = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    folder = tmp_path / "a"
    folder.mkdir()
    for index in range(2):
        write_dicom(folder / f"{index}.dcm", pixels + index, SeriesInstanceUID="1.2.9", PixelSpacing=["1", "1"],
                    ImagePositionPatient=["0", "0", str(index)], ImageOrientationPatient=AXES, SamplesPerPixel=3,
                    PhotometricInterpretation="RGB", PlanarConfiguration=0, BitsAllocated=8, BitsStored=8,
                    HighBit=7)  # fmt: skip
    found = read(folder)
    assert found.orient(found.values)[3, 1, 1].tolist() == (pixels[1, 3] + 1).tolist()


def test_frames_with_places_are_the_volume_that_their_slices_are(tmp_path: Path) -> None:
    heights = [4.0, 0.0, 2.0, 6.0]
    one, many = dicom.read(write_frames(tmp_path / "a.dcm", heights)), read(series(tmp_path / "a", heights))
    np.testing.assert_array_equal(one.values, [PIXELS + index for index in range(4)], "as the file holds them")
    np.testing.assert_array_equal(one.orient(one.values), many.orient(many.values))
    assert (one.spacing_mm, one.axes, one.voxel_ml) == (many.spacing_mm, many.axes, many.voxel_ml)
    assert one.voxel_ml == pytest.approx(2.0 * 0.5 * 0.25 / 1000)


@pytest.mark.parametrize(
    ("heights", "message"),
    [
        ([0.0, 0.0, 1.0], "frame 1 and frame 2 lie at one position"),
        ([0.0, 1.0, 2.0, 6.0], "between frame 3 and frame 4"),
    ],
)
def test_frames_that_are_no_volume_keep_their_axes_and_that_is_said(
    tmp_path: Path, heights: list[float], message: str
) -> None:
    found = dicom.read(write_frames(tmp_path / "a.dcm", heights))
    assert message in found.warnings[0]
    assert (found.axes, found.spacing_mm, found.voxel_ml) == (None, None, None)
    with pytest.raises(DataError, match=rf"a\.dcm: .*{message}.*; convert it with dcm2niix"):
        network_values(found, Intensity(op="intensity", rule="dtype"), "a.dcm", 3)
    plain = dicom.read(write_dicom(tmp_path / "b.dcm", np.stack([PIXELS, PIXELS]), NumberOfFrames="2"))
    assert plain.warnings == ("no positions of frames stated: axes as stored",)


@pytest.mark.skipif(not PACK.is_dir(), reason="the data are not here")
def test_a_real_series_has_the_values_that_other_readers_find() -> None:
    right = json.loads((PACK / "ct_abdomen_20.json").read_text(encoding="utf-8"))
    found = read(PACK / "ct_abdomen_20")
    assert found.sha256 == right["volume_sha256_float32_zyx"]
    assert list(found.values.shape) == right["volume_shape_zyx"]
    assert list(found.spacing_mm or ()) == right["spacing_xyz"][::-1]


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (
            {"SeriesInstanceUID": "1.2.8"},
            r"one slice, and its folder is no series: 002.dcm is of another series than 001",
        ),
        ({"ImagePositionPatient": None}, r"its folder is no series: 002.dcm states no ImagePositionPatient"),
        ({"NumberOfFrames": "2"}, r"its folder is no series: 002.dcm holds several frames"),
    ],
)
def test_a_slice_says_why_it_is_alone(tmp_path: Path, tags: dict[str, Any], message: str) -> None:
    folder = series(tmp_path / "a", [0.0, 1.0, 2.0])
    dataset = pydicom.dcmread(folder / "002.dcm")
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.save_as(folder / "002.dcm")
    with pytest.raises(DataError, match=message):
        check_whole(folder / "001.dcm", dicom.read(folder / "001.dcm"))
    with pytest.raises(DataError, match=r"a holds no slices of one DICOM series: 002.dcm"):
        read(folder)


def test_one_slice_names_its_folder(tmp_path: Path) -> None:
    folder = series(tmp_path / "a", [0.0, 1.0])
    with pytest.raises(DataError, match=r"001.dcm is one slice; .*name its folder .*a$"):
        check_whole(folder / "001.dcm", dicom.read(folder / "001.dcm"))
    (folder / "b.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"its folder is no series: b.png is another image"):
        check_whole(folder / "001.dcm", dicom.read(folder / "001.dcm"))
    (folder / "002.dcm").unlink()
    with pytest.raises(DataError, match=r"name the folder of a whole series"):
        check_whole(folder / "001.dcm", dicom.read(folder / "001.dcm"))
