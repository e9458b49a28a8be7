"""A folder of slices: sorted by position, checked, and turned into the axes of networks."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import PIXELS, write_dicom

from lorkit.decompose.data.formats.dicom_series import is_series, read, slices_of
from lorkit.decompose.errors import DataError

PACK = Path(os.environ.get("LORKIT_DATA", "../shared/data")) / "second" / "dicom" / "series"
# rows run to the right, columns to the front: both against the patient's axes of DICOM, and the normal upwards
AXES = ["-1", "0", "0", "0", "-1", "0"]


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
    write_dicom(folder / "z.dcm", SeriesInstanceUID="1.2.9")
    with pytest.raises(DataError, match=r"z\.dcm.*no ImagePositionPatient"):
        read(folder)


@pytest.mark.skipif(not PACK.is_dir(), reason="the data are not here")
def test_a_real_series_has_the_values_that_other_readers_find() -> None:
    right = json.loads((PACK / "ct_abdomen_20.json").read_text(encoding="utf-8"))
    found = read(PACK / "ct_abdomen_20")
    assert found.sha256 == right["volume_sha256_float32_zyx"]
    assert list(found.values.shape) == right["volume_shape_zyx"]
    assert list(found.spacing_mm or ()) == right["spacing_xyz"][::-1]
