"""Folders of classes, with and without parts and patients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.readers import class_folder
from lorkit.decompose.errors import DataError


def put(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(path)


def config(root: Path) -> RegionConfig:
    return RegionConfig(data=(str(root),))


def test_classes_patients_and_clutter(tmp_path: Path) -> None:
    put(tmp_path / "no" / "1.png")
    put(tmp_path / "no" / "2.JPG")
    put(tmp_path / "yes" / "anna" / "1.png", 9)
    put(tmp_path / "yes" / "anna" / "2.png", 10)
    (tmp_path / "no" / ".DS_Store").write_text("")
    (tmp_path / "no" / "readme.txt").write_text("")
    assert class_folder.accepts([str(tmp_path)]) == 1
    source = class_folder.read([str(tmp_path)], config(tmp_path))
    assert source.classes == ("no", "yes")
    assert source.labels.tolist() == [0, 0, 1, 1]
    assert source.ids == ("no/1.png", "no/2.JPG", "yes/anna/1.png", "yes/anna/2.png")
    assert source.groups == ("no/1.png", "no/2.JPG", "anna", "anna")
    assert set(source.parts) == {None}
    assert int(source.images[3][0, 0]) == 10


def test_part_folders_state_the_split(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        for name in ("a", "b"):
            put(tmp_path / part / name / "1.png")
    source = class_folder.read([str(tmp_path)], config(tmp_path))
    assert sorted(zip(source.parts, source.labels.tolist(), strict=True)) == sorted(
        (part, label) for part in ("train", "val", "test") for label in (0, 1)
    )


def test_empty_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images in"):
        class_folder.read([str(tmp_path)], config(tmp_path))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "scan.dcm").write_bytes(b"")
    with pytest.raises(DataError, match=r"scan\.dcm"):
        class_folder.read([str(tmp_path)], config(tmp_path))


def test_link_out_of_the_root_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere.png")
    put(tmp_path / "root" / "a" / "1.png")
    (tmp_path / "root" / "a" / "2.png").symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(DataError, match="outside"):
        class_folder.read([str(tmp_path / "root")], config(tmp_path / "root"))


@pytest.mark.parametrize("parts", [("Training", "Testing"), ("train_set", "test set")])
def test_folders_beside_the_parts_are_left_out_and_said(tmp_path: Path, parts: tuple[str, str]) -> None:
    for value, part in enumerate((*parts, "more")):
        put(tmp_path / part / "no" / "1.png", value)
        put(tmp_path / part / "yes" / "1.png", value + 10)
    source = class_folder.read([str(tmp_path)], config(tmp_path))
    assert sorted(zip(source.ids, source.parts, strict=True)) == sorted(
        (f"{folder}/{label}/1.png", part)
        for folder, part in zip(parts, ("train", "test"), strict=True)
        for label in ("no", "yes")
    )
    assert source.notices == ("more beside the parts left out",)


def test_classes_that_are_called_like_parts_are_classes(tmp_path: Path) -> None:
    for name in ("train", "test", "bus"):
        put(tmp_path / name / "1.png")
    source = class_folder.read([str(tmp_path)], config(tmp_path))
    assert source.classes == ("bus", "test", "train")
    assert set(source.parts) == {None}


def test_a_link_keeps_its_own_name(tmp_path: Path) -> None:
    put(tmp_path / "a" / "1.png", 1)
    put(tmp_path / "b" / "1.png", 2)
    (tmp_path / "b" / "2.png").symlink_to("../a/1.png")
    source = class_folder.read([str(tmp_path)], config(tmp_path))
    assert source.ids == source.groups == ("a/1.png", "b/1.png", "b/2.png")
    assert int(source.images[2][0, 0]) == 1


def test_masks_beside_images_are_no_images_of_the_class(tmp_path: Path) -> None:
    for number in range(2):
        put(tmp_path / "benign" / f"benign ({number}).png")
        put(tmp_path / "benign" / f"benign ({number})_mask.png")
        put(tmp_path / "normal" / "p1" / f"{number}.png")
    source = class_folder.read([str(tmp_path)], config(tmp_path))
    assert source.labels.tolist() == [0, 0, 1, 1]
    assert source.notices == ("2 masks beside their images left out",)


@pytest.mark.parametrize("part", ["", "train"])
def test_folders_of_images_and_masks_are_no_classes(tmp_path: Path, part: str) -> None:
    for name in ("images", "masks"):
        put(tmp_path / part / name / "1.png")
    with pytest.raises(DataError, match=r"holds images, masks: images and their masks, no classes.*\.npz"):
        class_folder.read([str(tmp_path)], config(tmp_path))


def test_volumes_with_their_masks_are_no_classes(tmp_path: Path) -> None:
    for case in ("c1", "c2"):
        (tmp_path / case).mkdir()
        for name in ("image", "label"):
            (tmp_path / case / f"{name}.nii.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"label\.nii\.gz is a mask beside its volume.*images/ and labels/"):
        class_folder.read([str(tmp_path)], config(tmp_path))


def test_images_directly_in_parts_are_no_classes(tmp_path: Path) -> None:
    put(tmp_path / "train" / "1.png")
    put(tmp_path / "test" / "2.png")
    with pytest.raises(DataError, match=r"no class folders in .*test, .*train"):
        class_folder.read([str(tmp_path)], config(tmp_path))
    put(tmp_path / "train" / "a" / "1.png")
    source = class_folder.read([str(tmp_path)], config(tmp_path))
    assert (source.ids, source.notices) == (("train/a/1.png",), ("test beside the parts left out",))


def test_a_folder_named_unlabelled_is_no_class(tmp_path: Path) -> None:
    for name in ("a", "b", "Unlabelled"):
        put(tmp_path / name / "1.png")
    source = class_folder.read([str(tmp_path)], config(tmp_path))
    assert source.classes == ("a", "b")
    assert source.notices == ("Unlabelled is no class: name it as `unlabelled` of the region to use it",)
