"""Images and masks that look like classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorkit.decompose.data.readers.mask_layouts import are_pairs, masks_among


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (("images", "masks"), True),
        (("Image", "Ground Truth", "extra"), True),
        (("imagesTr", "labelsTr", "imagesTs"), True),
        (("image", "1st_manual"), True),
        (("normal", "sick"), False),
        (("images",), False),
        (("masks", "labels"), False),
    ],
)
def test_folders_of_images_and_masks(names: tuple[str, ...], pairs: bool) -> None:
    assert are_pairs([Path(name) for name in names]) is pairs


@pytest.mark.parametrize(
    ("names", "masks"),
    [
        (("a (1).png", "a (1)_mask.png", "a (1)_mask_1.png"), ["a (1)_mask.png", "a (1)_mask_1.png"]),
        (("a.png", "b_mask.png"), []),  # of no image here
        (("mask.png", "a.png"), []),
        (("image.nii.gz", "label.nii.gz"), ["label.nii.gz"]),
        (("X_t1.nii.gz", "X_seg.nii.gz"), ["X_seg.nii.gz"]),
        (("seg.nii",), []),
    ],
)
def test_masks_beside_images(names: tuple[str, ...], masks: list[str]) -> None:
    assert [path.name for path in masks_among([Path(name) for name in names])] == masks
