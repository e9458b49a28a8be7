from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from dicom_files import PIXELS, write_dicom
from PIL import Image

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


def test_what_the_recipe_takes_is_read(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "IM0001", RescaleSlope="2", RescaleIntercept="-1024")
    np.testing.assert_array_equal(read(path, WINDOW), PIXELS.astype(np.float32) * 2 - 1024)
    assert apply_recipe(recipe(), read(path, recipe())).shape == (1, 4, 4)
    nib.save(nib.Nifti1Image(np.zeros((4, 3, 5), np.float32), np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match=r"a\.nii\.gz is a volume.*4x3x5.*required: one picture per file"):
        read(tmp_path / "a.nii.gz", recipe())


def test_a_folder_stands_for_its_images(tmp_path: Path) -> None:
    for name in ("p1/b.png", "p1/a.png", "p2/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / name)
    for name in (".DS_Store", "Thumbs.db", "p1/._a.png", "notes.txt", "labels.csv"):
        (tmp_path / name).write_bytes(b"x")
    assert expand([tmp_path]) == [tmp_path / "p1/a.png", tmp_path / "p1/b.png", tmp_path / "p2/c.png"]


def test_a_csv_names_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "images" / "a.png")
    (tmp_path / "list.csv").write_text("id,path\n1,images/a.png\n", encoding="utf-8")
    assert expand([tmp_path / "list.csv"]) == [tmp_path / "images" / "a.png"]
    (tmp_path / "bad.csv").write_text("path\nimages/a.png\nimages/b.png\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.csv, line 3: no image at"):
        expand([tmp_path / "bad.csv"])
    (tmp_path / "found.tsv").write_text("nr|file\n1|images\\a.png\n", encoding="utf-8-sig")
    assert expand([tmp_path / "found.tsv"]) == [tmp_path / "images" / "a.png"]
    (tmp_path / "named.csv").write_text("file\na.png\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"none names images below .* a column 'path'"):
        expand([tmp_path / "named.csv"])


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file at"):
        expand([tmp_path / "none.png"])
    with pytest.raises(UsageError, match="no image in"):
        expand([tmp_path])
    with pytest.raises(UsageError, match="no input"):
        expand([])
    (tmp_path / "a.txt").write_text("text", encoding="utf-8")
    with pytest.raises(DataError, match=r"unknown format.*PNG"):
        read(tmp_path / "a.txt", recipe())


@pytest.mark.parametrize(
    ("name", "expected"), [("a.b.png", "a.b"), ("case.nii.gz", "case"), ("case.nii", "case"), ("IM1", "IM1")]
)
def test_the_stem_keeps_what_names_the_case(name: str, expected: str) -> None:
    assert stem(Path(name)) == expected
