"""Images without labels: how they are found, whose they are, and which are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from lorkit.decompose.config import RegionConfig, SplitConfig
from lorkit.decompose.data.readers.registry import read_region
from lorkit.decompose.data.readers.unlabelled import read_unlabelled
from lorkit.decompose.data.samples.samples import RegionSamples
from lorkit.decompose.data.splits import split_regions
from lorkit.decompose.data.unlabelled import check_unlabelled, counts_of
from lorkit.decompose.errors import DataError

Make = Callable[..., RegionSamples]
IMAGES = np.random.default_rng(7).integers(0, 256, (6, 8, 8), dtype=np.uint8)


def region(path: Path | list[str], **settings: Any) -> RegionConfig:
    named = [str(path)] if isinstance(path, Path) else path
    return RegionConfig.model_validate({"data": "x", "unlabelled": named, **settings})


@pytest.fixture
def labelled(make: Make) -> RegionSamples:
    return make([0, 1] * 20, groups=[f"p{index}" for index in range(40)])


def folder(root: Path, names: list[str]) -> Path:
    for name, image in zip(names, IMAGES, strict=False):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / name)
    return root


def test_a_folder_of_any_depth(tmp_path: Path, labelled: RegionSamples) -> None:
    root = folder(tmp_path / "all", ["a.png", "deep/er/b.png", "c.png"])
    (root / "notes.txt").write_text("no image")
    found = read_unlabelled(labelled, region(root), base=tmp_path)
    assert found.ids == ("a.png", "c.png", "deep/er/b.png")
    assert found.labels.tolist() == [-1, -1, -1]
    assert not found.region.grouped
    np.testing.assert_array_equal(found.images[2], IMAGES[1])
    assert counts_of({"r": found})["r"].to_json() == {"n": 3, "groups": 3, "digest": found.digest}


def test_a_pattern_finds_patients(tmp_path: Path, labelled: RegionSamples) -> None:
    root = folder(tmp_path / "all", ["q1_a.png", "q1_b.png", "q2_a.png"])
    found = read_unlabelled(labelled, region(root, groups="^(q[0-9]+)_"), base=tmp_path)
    assert found.groups == ("q1", "q1", "q2")


def test_a_table_needs_no_labels(tmp_path: Path, labelled: RegionSamples) -> None:
    folder(tmp_path / "all", ["a.png", "b.png"])
    (tmp_path / "list.csv").write_text("path,patient\na.png,q1\nb.png,q1\n")
    found = read_unlabelled(labelled, region(["list.csv", "all"]), base=tmp_path)
    assert (found.groups, found.region.grouped) == (("q1", "q1"), True)


@pytest.mark.parametrize("key", ["images", "train_images"])
def test_arrays_need_no_labels(tmp_path: Path, labelled: RegionSamples, key: str) -> None:
    arrays: dict[str, Any] = {key: IMAGES, "patient": np.array(["q1", "q2"] * 3)}
    np.savez(tmp_path / "all.npz", **arrays)
    found = read_unlabelled(labelled, region(tmp_path / "all.npz"), base=tmp_path)
    assert (len(found), found.groups[:2]) == (6, ("q1", "q2"))


def test_labels_of_several_are_rows(tmp_path: Path, labelled: RegionSamples) -> None:
    np.savez(tmp_path / "all.npz", images=IMAGES)
    many = labelled.__class__(**{**vars(labelled), "labels": np.zeros((40, 3), dtype=np.int64)})
    found = read_unlabelled(many, region(tmp_path / "all.npz"), base=tmp_path)
    assert found.labels.shape == (6, 3)
    assert (found.labels == -1).all()


@pytest.mark.parametrize(
    ("name", "images", "message"),
    [
        ("missing", None, "no unlabelled images at"),
        ("colour.npz", np.zeros((3, 8, 8, 3), dtype=np.uint8), "are coloured, the labelled ones gray"),
        ("large.npz", np.zeros((3, 24, 24), dtype=np.uint8), "24 pixels wide and high, the labelled ones 8"),
        ("small.npz", np.zeros((3, 3, 3), dtype=np.uint8), "3 pixels wide and high"),
        ("volume.npz", np.zeros((3, 8, 8, 8), dtype=np.uint8), "unlabelled|volume|2D|image"),
    ],
)
def test_images_of_another_kind_are_refused(
    tmp_path: Path, labelled: RegionSamples, name: str, images: Any, message: str
) -> None:
    if images is not None:
        np.savez(tmp_path / name, images=images)
    with pytest.raises(DataError, match=message):
        read_unlabelled(labelled, region(tmp_path / name), base=tmp_path)


@pytest.mark.parametrize("labels", ["gray", "coloured", "both"])
@pytest.mark.parametrize("others", ["gray", "coloured", "both"])
def test_colours_that_no_labelled_image_has_are_refused(tmp_path: Path, make: Make, labels: str, others: str) -> None:
    def images(kind: str, count: int) -> list[Any]:
        drawn = np.random.default_rng(len(kind)).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
        return [one[..., 0] if kind == "gray" or (kind == "both" and row % 2) else one for row, one in enumerate(drawn)]

    labelled = make([0, 1] * 4, images=images(labels, 8))
    (tmp_path / "all").mkdir()
    for row, image in enumerate(images(others, 4)):
        Image.fromarray(image).save(tmp_path / "all" / f"{row}.png")
    message = {
        ("gray", "coloured"): "^unlabelled images of region 'r' are coloured",
        ("gray", "both"): "^2 of 4 unlabelled images of region 'r' are coloured",
        ("coloured", "gray"): "are gray, the labelled ones coloured",
    }.get((labels, others))
    if message is None:
        assert len(read_unlabelled(labelled, region(tmp_path / "all"), base=tmp_path)) == 4
    else:
        with pytest.raises(DataError, match=message):
            read_unlabelled(labelled, region(tmp_path / "all"), base=tmp_path)


def test_a_bad_image_is_named_as_unlabelled(tmp_path: Path, labelled: RegionSamples) -> None:
    images = np.zeros((3, 8, 8), dtype=np.float32)
    images[1, 0, 0] = np.nan
    np.savez(tmp_path / "rest.npz", images=images)
    with pytest.raises(DataError, match=r"^unlabelled image '.*1' of region 'r'"):
        read_unlabelled(labelled, region(tmp_path / "rest.npz"), base=tmp_path)


def test_tables_and_arrays_without_images_are_refused(tmp_path: Path, labelled: RegionSamples) -> None:
    (tmp_path / "none.csv").write_text("path,patient\n")
    np.savez(tmp_path / "none.npz", images=IMAGES[:0])
    for name in ("none.csv", "none.npz"):
        with pytest.raises(DataError, match=f"no unlabelled images in .*{name}"):
            read_unlabelled(labelled, region(tmp_path / name), base=tmp_path)


def test_empty_folders_and_other_files_are_refused(tmp_path: Path, labelled: RegionSamples) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no unlabelled images in"):
        read_unlabelled(labelled, region(tmp_path / "none"), base=tmp_path)
    (tmp_path / "none" / "program.exe").write_bytes(b"MZ")
    with pytest.raises(DataError, match="no image that this reader knows"):
        read_unlabelled(labelled, region(tmp_path / "none"), base=tmp_path)


def test_links_that_lead_out_are_refused(tmp_path: Path, labelled: RegionSamples) -> None:
    folder(tmp_path / "outside", ["a.png"])
    root = folder(tmp_path / "all", ["b.png"])
    (root / "link.png").symlink_to(tmp_path / "outside" / "a.png")
    with pytest.raises(DataError, match="outside"):
        read_unlabelled(labelled, region(root), base=tmp_path)


@pytest.mark.parametrize("part", ["val", "test"])
@pytest.mark.parametrize("how", ["image", "patient"])
def test_held_out_patients_are_refused_by_name(tmp_path: Path, labelled: RegionSamples, part: str, how: str) -> None:
    splits = split_regions({"r": labelled}, SplitConfig(), seed=0)
    index = int(splits.parts("r")[part][0])
    image = labelled.images[index] if how == "image" else IMAGES[1]
    patient = "new" if how == "image" else labelled.groups[index]
    np.savez(tmp_path / "all.npz", images=np.stack([IMAGES[0], image]), patient=np.array(["q1", patient]))
    found = read_unlabelled(labelled, region(tmp_path / "all.npz"), base=tmp_path)
    with pytest.raises(DataError, match=f"'all/1' of region 'r'.*in the {part} part"):
        check_unlabelled({"r": labelled}, splits, {"r": found})


def test_training_patients_may_have_further_images(tmp_path: Path, labelled: RegionSamples) -> None:
    splits = split_regions({"r": labelled}, SplitConfig(), seed=0)
    index = int(splits.parts("r")["train"][0])
    images = np.stack([IMAGES[0], labelled.images[index]])
    np.savez(tmp_path / "all.npz", images=images, patient=np.array([labelled.groups[index]] * 2))
    found = read_unlabelled(labelled, region(tmp_path / "all.npz"), base=tmp_path)
    assert check_unlabelled({"r": labelled}, splits, {"r": found}) == [
        "region 'r': 1 unlabelled image also among the labelled ones"
    ]


def test_unknown_patients_are_stated(tmp_path: Path, labelled: RegionSamples) -> None:
    splits = split_regions({"r": labelled}, SplitConfig(), seed=0)
    np.savez(tmp_path / "all.npz", images=IMAGES, ids=np.array([f"p{index}" for index in range(6)]))
    found = read_unlabelled(labelled, region(tmp_path / "all.npz"), base=tmp_path)
    (text,) = check_unlabelled({"r": labelled}, splits, {"r": found})
    assert "patients of the unlabelled images are unknown for some or all" in text


def test_patients_that_differ_only_in_spelling_are_stated(tmp_path: Path, labelled: RegionSamples) -> None:
    splits = split_regions({"r": labelled}, SplitConfig(), seed=0)
    np.savez(tmp_path / "all.npz", images=IMAGES, patient=np.array(["P1", *"abcde"]))
    found = read_unlabelled(labelled, region(tmp_path / "all.npz"), base=tmp_path)
    (text,) = check_unlabelled({"r": labelled}, splits, {"r": found})
    assert "patients 'p1' and 'P1' differ only in spelling" in text


def test_repeated_images_are_stated(tmp_path: Path, labelled: RegionSamples) -> None:
    splits = split_regions({"r": labelled}, SplitConfig(), seed=0)
    np.savez(tmp_path / "all.npz", images=IMAGES[[0, 1, 1, 1]], patient=np.array(list("abcd")))
    found = read_unlabelled(labelled, region(tmp_path / "all.npz"), base=tmp_path)
    assert check_unlabelled({"r": labelled}, splits, {"r": found}) == [
        "region 'r': 2 unlabelled images given more than once"
    ]


def test_volumes_at_a_spacing_state_theirs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("images", "labels", "more"):
        (tmp_path / name).mkdir()
    affine = np.diag([-2.0, 1.0, 3.0, 1.0])[[1, 0, 2, 3]]  # the first axis runs to the back, the second to the right
    for place in ("images/a", "images/b", "labels/a", "labels/b", "more/c"):
        values = rng.integers(0, 2 if "labels" in place else 99, (7, 5, 6)).astype(np.uint8)
        nib.save(nib.Nifti1Image(values, affine), tmp_path / f"{place}.nii.gz")  # type: ignore[attr-defined]
    config = RegionConfig(data=(".",), unlabelled=("more",), spacing=2, structures=("one",))
    labelled = read_region("r", config, base=tmp_path, dims=3)
    found = read_unlabelled(labelled, config, base=tmp_path)
    assert found.spacings == labelled.spacings[:1] == ((1.0, 2.0, 3.0),)
    assert found.images[0].shape == (5, 7, 6)
