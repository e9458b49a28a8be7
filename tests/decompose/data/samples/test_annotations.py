"""Masks of pictures and volumes: what is read, and what is refused in one line."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from dicom_files import write_dicom
from pydicom.uid import SegmentationStorage

from lorkit.decompose.artifacts.masks import join_structures, of_structure
from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.readers.registry import read_region
from lorkit.decompose.data.samples.samples import RegionSamples
from lorkit.decompose.errors import DataError, LorkitError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 12, 10), dtype=np.uint8)
MASKS = (IMAGES > 100).astype(np.uint8) + (IMAGES > 200)


def read(path: Path, *, dims: int = 2, settings: dict[str, Any] | None = None, **arrays: Any) -> RegionSamples:
    np.savez(path / "a.npz", **arrays)
    config = RegionConfig(data=(str(path / "a.npz"),), **(settings or {}))
    return read_region("r", config, base=path, dims=dims)


def write(root: Path, name: str, image: np.ndarray, mask: np.ndarray, affine: np.ndarray | None = None) -> None:
    for folder, values in (("images", image), ("labels", mask)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), root / folder / name)


def test_masks_of_pictures_are_a_segmentation(tmp_path: Path) -> None:
    samples = read(tmp_path, images=IMAGES, masks=MASKS, mask_names=np.array(["background", "a", "b"]))
    assert (samples.region.task, samples.region.classes) == ("segmentation", ("a", "b"))
    assert samples.counts() == [int((value == MASKS).any((1, 2)).sum()) for value in (1, 2)]
    other = MASKS.copy()
    other[0, 0, 0] = 2 - other[0, 0, 0] // 2 * 2
    changed = read(tmp_path, images=IMAGES, masks=other, mask_names=np.array(["background", "a", "b"]))
    assert changed.digests == samples.digests
    assert changed.digest != samples.digest, "the digest of a region holds its masks"


def test_the_length_of_image_size_decides_what_four_axes_are(tmp_path: Path) -> None:
    volumes = RNG.random((4, 9, 8, 7), dtype=np.float32)
    assert read(tmp_path, dims=3, images=volumes, masks=volumes > 0.5).dims == 3
    assert read(tmp_path, dims=3, images=volumes, labels=np.arange(4) % 2).region.task == "classification"
    with pytest.raises(DataError, match=r"2D image because image\.size has two entries"):
        read(tmp_path, images=volumes, masks=volumes > 0.5)
    with pytest.raises(DataError, match=r"volume because image\.size has three entries"):
        read(tmp_path, dims=3, images=np.zeros((4, 9, 8, 3), np.uint8), labels=np.arange(4) % 2)


@pytest.mark.parametrize(
    ("settings", "arrays", "match"),
    [
        ({}, {"masks": MASKS[:, :5]}, r"mask of shape \(5, 10\) for an image of \(12, 10\)"),
        ({}, {"masks": MASKS[:4]}, "6 images, 6 labels.*4 masks"),
        ({}, {"masks": MASKS.astype(float) + 0.5}, "whole numbers"),
        ({}, {"masks": MASKS.astype(np.int16) - 1}, "values -1 to 1"),
        ({}, {"masks": np.zeros_like(MASKS)}, "are empty"),
        ({"structures": ("a",)}, {"masks": MASKS}, "value 2 in the mask of sample"),
        ({"structures": ("a", "b", "c")}, {"masks": MASKS}, "'c' of region 'r' is in no mask"),
        ({"structures": ("b", "a")}, {"masks": MASKS, "mask_names": np.array(["a", "b"])}, "in its order: a, b"),
        ({"classes": ("a", "b")}, {"masks": MASKS}, "structures instead of classes"),
        ({"structures": ("a", "b")}, {"labels": np.arange(6) % 2}, "classes instead of structures"),
        ({"task": "segmentation"}, {"labels": np.arange(6) % 2}, "no 'masks'"),
        ({}, {"masks": MASKS, "labels": np.arange(6) % 2}, "holds labels and masks"),
    ],
)
def test_bad_masks_are_refused(tmp_path: Path, settings: dict[str, Any], arrays: dict[str, Any], match: str) -> None:
    with pytest.raises(LorkitError, match=match) as raised:
        read(tmp_path, settings=settings, images=IMAGES, **arrays)
    assert "\n" not in str(raised.value)


def test_pairs_of_volumes_are_read_in_ras_axes(tmp_path: Path) -> None:
    image = RNG.integers(0, 200, (9, 10, 11)).astype(np.int16)
    mask = (image > 100).astype(np.uint8)
    write(tmp_path, "one.nii.gz", image, mask)
    flipped = np.diag([-1.0, 1.0, 1.0, 1.0])
    flipped[0, 3] = 8.0
    write(tmp_path, "two.nii.gz", image[::-1], mask[::-1], flipped)
    samples = read_region("r", RegionConfig(data=(str(tmp_path),), structures=("a",)), base=tmp_path, dims=3)
    assert samples.masks is not None
    assert samples.images[0].dtype == np.float32
    np.testing.assert_array_equal(samples.images[0], samples.images[1])
    np.testing.assert_array_equal(samples.masks[0], samples.masks[1])
    assert samples.groups == ("one", "two")


def test_the_decathlons_and_nnunets_layouts_name_their_structures(tmp_path: Path) -> None:
    image = RNG.integers(0, 200, (9, 10, 11)).astype(np.uint8)
    write(tmp_path, "one.nii.gz", image, (image > 100).astype(np.uint8))
    (tmp_path / "images").rename(tmp_path / "imagesTr")
    (tmp_path / "labels").rename(tmp_path / "labelsTr")
    (tmp_path / "imagesTr" / "one.nii.gz").rename(tmp_path / "imagesTr" / "one_0000.nii.gz")
    texts = ('{"labels": {"0": "background", "1": "liver"}}', '{"labels": {"background": 0, "liver": 1}}')
    for text, encoding in itertools.product(texts, ("utf-8", "utf-8-sig")):
        (tmp_path / "dataset.json").write_text(text, encoding=encoding)
        samples = read_region("r", RegionConfig(data=(str(tmp_path),)), base=tmp_path, dims=3)
        assert samples.region.classes == ("liver",)


def test_bad_pairs_of_volumes_are_refused(tmp_path: Path) -> None:
    image, mask = np.zeros((9, 10, 11), np.uint8), np.ones((9, 10, 11), np.uint8)

    def refused(match: str) -> None:
        with pytest.raises(DataError, match=match):
            read_region("r", RegionConfig(data=(str(tmp_path),)), base=tmp_path, dims=3)

    write(tmp_path, "one.nii.gz", image, mask)
    write(tmp_path, "two.nii.gz", image, mask)
    (tmp_path / "labels" / "two.nii.gz").unlink()
    refused("no mask file for case 'two'")
    segmentation = write_dicom(tmp_path / "labels" / "two.dcm", SOPClassUID=SegmentationStorage)
    refused("two.dcm is a segmentation object; .*segimage2itkimage")
    segmentation.unlink()
    write(tmp_path, "two.nii.gz", image, mask[:5])
    refused("has shape")
    write(tmp_path, "two.nii.gz", np.zeros((9, 10, 11, 2), np.uint8), mask)
    refused("one volume of three axes")
    (tmp_path / "images" / "two_0001.nii.gz").write_bytes(b"")
    refused("move the files of the other channels away")
    (tmp_path / "images" / "two_0001.nii.gz").unlink()
    nibabel.save(nibabel.Nifti1Image(image, np.diag([2.0, 1, 1, 1])), tmp_path / "images" / "two.nii.gz")
    refused("different affines")
    write(tmp_path, "two.nii.gz", np.full((9, 10, 11), np.nan, np.float32), mask)
    refused("NaN")
    (tmp_path / "images" / "two.nii.gz").write_bytes(b"nothing")
    refused("cannot be read")


def test_overlap_reads_numbers_lists_and_planes_as_bits(tmp_path: Path) -> None:
    """The same two structures, one inside the other, stated in three ways."""
    there = np.stack([MASKS > 0, MASKS == 2], axis=1)
    ways: tuple[tuple[Any, Any], ...] = (
        ({"overlap": True, "structures": {"a": [1, 2], "b": 2}}, MASKS),
        ({"overlap": True, "structures": ["a", "b"]}, there.astype(np.uint8)),
        ({"task": "structures", "structures": ["a", "b"]}, there),
    )
    digests = set()
    for settings, masks in ways:
        samples = read(tmp_path, images=IMAGES, masks=masks, settings=settings)
        assert (samples.region.task, samples.region.classes) == ("structures", ("a", "b"))
        np.testing.assert_array_equal(samples.present, there.any((2, 3)))
        for index in range(len(IMAGES)):
            np.testing.assert_array_equal(samples.masks[index], join_structures(there[index]))
        digests.add(samples.digest)
    assert len(digests) == 1
    apart = read(tmp_path, images=IMAGES, masks=MASKS, settings={"overlap": True, "task": "segmentation"})
    np.testing.assert_array_equal(of_structure(apart.masks[0], 1), MASKS[0] == 1)


@pytest.mark.parametrize(
    ("settings", "masks", "match"),
    [
        ({}, np.stack([MASKS, MASKS], axis=1), "required: overlap: true in the region"),
        ({"overlap": True}, np.stack([MASKS, MASKS], axis=1), "1 where a structure is, else 0"),
        ({"overlap": True}, np.where(MASKS == 2, 40, MASKS), "value 40 in the mask of sample"),
        ({"overlap": True, "structures": ["a"]}, MASKS, "value 2 in the mask"),
        ({"overlap": True, "structures": [f"s{index}" for index in range(32)]}, MASKS, "at most 31"),
    ],
)
def test_masks_that_cannot_overlap_are_refused(
    tmp_path: Path, settings: dict[str, Any], masks: np.ndarray, match: str
) -> None:
    with pytest.raises(LorkitError, match=match):
        read(tmp_path, images=IMAGES, masks=masks, settings=settings)


def test_labels_of_images_cannot_overlap(tmp_path: Path) -> None:
    with pytest.raises(LorkitError, match="states overlap; required: masks"):
        read(tmp_path, images=IMAGES, labels=np.arange(6) % 2, settings={"overlap": True})
    with pytest.raises(ValueError, match="overlap: true, because the structure 'a' has several numbers"):
        RegionConfig(data=("a",), structures={"a": [1, 2]})
    with pytest.raises(ValueError, match="overlap only with masks"):
        RegionConfig(data=("a",), task="multilabel", overlap=True)
