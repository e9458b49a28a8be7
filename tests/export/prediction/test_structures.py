"""Only the named structures are kept, with their own numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lorkit.decompose.documents.predict import StructureSize
from lorkit.decompose.errors import UsageError
from lorkit.decompose.regions import Region
from lorkit.export.prediction.structures import MaskOptions, kept_labels, labelled, sizes_of
from lorkit.export.prediction.writers.base import LabelledMask

REGION = Region(name="abdomen", task="segmentation", classes=("liver", "spleen", "kidney"))


def test_kept_structures_keep_their_numbers_and_order() -> None:
    labels = kept_labels(REGION, ["kidney", "liver"])
    assert [(label.value, label.name) for label in labels] == [(1, "liver"), (3, "kidney")]
    values = np.array([[[0, 1, 2, 3, 3]]], np.uint8)
    mask = labelled(Path("a.nii"), REGION, values, labels)
    np.testing.assert_array_equal(mask.values, [[[0, 1, 0, 3, 3]]])
    assert sizes_of(mask, 0.5) == {
        "liver": StructureSize(voxels=1, ml=0.5), "kidney": StructureSize(voxels=2, ml=1.0)
    }  # fmt: skip
    assert sizes_of(labelled(Path("a.png"), REGION, values[0], labels), None)["kidney"] == StructureSize(pixels=2)


def test_an_unknown_structure_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match=r"unknown structure 'lever'.*did you mean 'liver'"):
        kept_labels(REGION, ["lever"])
    with pytest.raises(UsageError, match="--structures without a name"):
        kept_labels(REGION, [])


def test_bits_of_overlapping_structures_are_counted_one_by_one() -> None:
    mask = LabelledMask(Path("a.nii"), np.array([[[7, 1, 4]]], np.uint8), kept_labels(REGION, None), overlapping=True)
    assert {name: size.voxels for name, size in sizes_of(mask, None).items()} == {"liver": 2, "spleen": 1, "kidney": 2}


def test_the_first_option_of_masks_is_named() -> None:
    assert MaskOptions().given is None
    assert MaskOptions(structures=[], preview=True).given == "--structures"
    assert MaskOptions(preview=True).need_image
    assert not MaskOptions(to="nifti").need_image
