"""What folders are: classes, parts, patients, or nothing that a reader takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorkit.decompose.data.readers.folder_layouts import are_classes, are_parts, folders_of, problem_of, what_is_there


def touch(root: Path, text: str) -> list[Path]:
    for name in text.split():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return folders_of(root)


@pytest.mark.parametrize(
    ("text", "classes", "parts"),
    [
        ("a/1.png b/1.png", True, False),
        ("a/1.png b/.DS_Store __MACOSX/._1.png b/Thumbs.db", False, False),
        ("a/p1/1.png b/p2/1.png b/p3/1.png", True, False),  # patients
        ("a/10253/1.png b/10254/1.png", True, False),
        ("knee/KL0/1.png knee/KL1/1.png hand/0/1.png hand/1/1.png", False, False),  # regions of classes
        ("brain/p1/1.png knee/p1/1.png", False, False),  # a patient is in one class
        ("train/1.png test/1.png", False, False),
        ("train/a/1.png train/b/1.png test/1.png", False, True),
        ("Training/a/1.png Training/b/1.png Testing/a/1.png Testing/b/1.png", False, True),
        ("train/a/p1/1.png train/b/p2/1.png val/a/p3/1.png val/b/p4/1.png", False, True),
    ],
)
def test_folders_are_told_apart(tmp_path: Path, text: str, classes: bool, parts: bool) -> None:
    folders = touch(tmp_path, text)
    assert (are_classes(folders), are_parts(folders)) == (classes, parts)
    assert not problem_of(tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("images/1.png masks/1.png", "images and their masks as pictures"),
        ("c1/image.nii.gz c1/label.nii.gz c2/image.nii.gz c2/label.nii.gz", "a mask beside each volume"),
        ("8863/0/1.png 8863/1/2.png 8864/0/1.png 8865/1/1.png", "a folder for each patient, and classes inside"),
    ],
)
def test_what_no_reader_takes_is_named(tmp_path: Path, text: str, problem: str) -> None:
    touch(tmp_path, text)
    assert problem in problem_of(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x.txt y/z.csv", ""),
        ("1.png y/2.jpg", "has 2 pictures without labels; put them into one folder per class"),
        ("a.nii.gz b.png", "has 1 NIfTI file and 1 picture without labels"),
        ("c0.nii.gz c0_seg.nii.gz", "has 2 NIfTI files, masks beside volumes; put them into images/ and labels/"),
    ],
)
def test_images_in_no_layout_are_counted(tmp_path: Path, text: str, said: str) -> None:
    touch(tmp_path, text)
    assert what_is_there(tmp_path).startswith(said)
    assert bool(what_is_there(tmp_path)) is bool(said)
