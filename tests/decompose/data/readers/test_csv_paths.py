"""The column of a table that names images, found by its cells."""

from __future__ import annotations

from pathlib import Path

import pytest
from dicom_files import write_dicom
from PIL import Image

from lorkit.decompose.data.readers.csv_paths import image_at, path_column, require_path_column
from lorkit.decompose.data.readers.csv_table import Table, read_table
from lorkit.decompose.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "benign").mkdir()
    for name in ("1.png", "2.png", "3.jpg", "benign/4.tif"):
        Image.new("L", (4, 4)).save(tmp_path / name)
    return tmp_path


def table(root: Path, text: str) -> Table:
    (root / "t.csv").write_text(text, encoding="utf-8")
    return read_table(root / "t.csv")


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("path,file\nnone.png,gone.png\n", "path"),  # stated, so that what is missing can be named
        ("path,file\n/old/1.png,1.png\n", "file"),
        ("Image Index,label\n1.png,a\n2.png,b\n", "image index"),
        ("n,file,label\n9,benign\\4.tif,a\n8,3.jpg,b\n", "file"),
        ("image_id,age\n1,70\n2,71\n", "image_id"),  # names without their suffix
        ("id,file\n1,1.png\n2,2.png\n", "file"),  # whole names before names without it
        ("thumb,file\n1.png,1.png\n1.png,2.png\n", "file"),  # more images
        ("label,id\nbenign,1\nbenign,2\n", "id"),  # a folder of a class is no image
        ("file,label\n1.png,a\n2.png,a\ngone.png,b\n", "file"),  # most are there
        ("a,b\n1,2\n", None),  # a number is no name of a file
        ("note,label\nt.csv,a\n", None),  # a file that is no image
        ("file,label\n../1.png,a\n", None),
        ("file,label\n,a\n", None),
        ("file,label\n", None),
    ],
)
def test_cells_decide(root: Path, text: str, column: str | None) -> None:
    found = table(root, text)
    assert path_column(found, root, "t.csv") == column
    if column is None:
        with pytest.raises(DataError, match="none names images below"):
            require_path_column(found, root, "t.csv")


def test_folders_of_slices_are_images(root: Path) -> None:
    for name in ("a", "b"):
        (root / name).mkdir()
        write_dicom(root / name / "1")
    assert path_column(table(root, "series,label\na,x\nb,y\n"), root, "t.csv") == "series"


def test_two_columns_of_images_are_named(root: Path) -> None:
    with pytest.raises(DataError, match=r"t\.csv: columns image and mask both name images.*rename .* 'path'"):
        path_column(table(root, "image,mask\n1.png,2.png\n2.png,1.png\n"), root, "t.csv")


def test_a_name_without_its_suffix_is_one_file(root: Path) -> None:
    assert image_at(root, "benign/4", "") == root / "benign" / "4.tif"
    assert image_at(root, "none", "") is None
    Image.new("L", (4, 4)).save(root / "1.bmp")
    with pytest.raises(DataError, match=r"line 2: '1' may be 1\.bmp and 1\.png"):
        image_at(root, "1", "line 2")
    with pytest.raises(DataError, match="lies outside"):
        image_at(root, "../1", "line 2")
