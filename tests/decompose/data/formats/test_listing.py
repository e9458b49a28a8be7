"""Which images a path stands for."""

from __future__ import annotations

from pathlib import Path

import pytest
from dicom_files import write_dicom

from lorkit.decompose.data.formats.listing import images_of, is_left_over

AXES = {"ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"], "SeriesInstanceUID": "1.2"}


def test_a_folder_stands_for_its_files_and_a_series_for_itself(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "sub/c.tif", "list.csv", ".DS_Store", "Thumbs.db", "__MACOSX/a.png", "._a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "ct").mkdir()
    for index in range(2):
        write_dicom(tmp_path / "ct" / f"IM{index}", ImagePositionPatient=["0", "0", str(index)], **AXES)
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    names = ["a.png", "b.png", "ct", "sub/c.tif"]
    assert images_of(tmp_path) == [tmp_path / name for name in names]
    assert images_of(tmp_path / "a.png") == [tmp_path / "a.png"]
    assert images_of(tmp_path / "ct") == [tmp_path / "ct"]


@pytest.mark.parametrize(
    ("name", "expected"), [("._x.jpeg", True), ("__MACOSX", True), ("Thumbs.db", True), ("x.jpeg", False)]
)
def test_what_an_operating_system_leaves_is_no_image(name: str, expected: bool) -> None:
    assert is_left_over(Path(name)) is expected


def test_linked_folders_are_followed_unless_they_lead_back(tmp_path: Path) -> None:
    for name in ("here/a.png", "there/b.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "here" / "link").symlink_to(tmp_path / "there")
    (tmp_path / "there" / "back").symlink_to(tmp_path / "here")
    here = tmp_path / "here"
    assert images_of(here) == [here / "a.png", here / "link" / "b.png"]
