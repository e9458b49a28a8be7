"""NIfTI masks whose structures overlap: a folder per structure, and nnU-Net's lists of labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.readers.discovery import FoundSource
from lorkit.decompose.data.readers.region_drafts import draft_region
from lorkit.decompose.data.readers.registry import read_region
from lorkit.decompose.data.samples.samples import RegionSamples
from lorkit.decompose.errors import DataError, LorkitError, UsageError

NUMBERS = np.random.default_rng(0).integers(0, 4, (3, 5, 6, 7)).astype(np.uint8)
"""1: liver, 2: vessel inside it, 3: vessel outside."""
THERE = {"liver": np.isin(NUMBERS, [1, 2]), "vessel": np.isin(NUMBERS, [2, 3])}
AFFINE = np.diag([-1.0, 1.0, 2.0, 1.0])
"""First axis to the left, so that masks are turned."""


def write(root: Path, folder: str, volumes: np.ndarray, suffix: str = "") -> None:
    (root / folder).mkdir(parents=True, exist_ok=True)
    for case, values in enumerate(volumes):
        nibabel.save(nibabel.Nifti1Image(values, AFFINE), root / folder / f"case{case}{suffix}.nii.gz")


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    write(tmp_path, "images", (NUMBERS * 50).astype(np.uint8))
    for name, there in THERE.items():
        write(tmp_path, f"labels/{name}", there.astype(np.uint8))
    return tmp_path


@pytest.fixture
def nnunet(tmp_path: Path) -> Path:
    write(tmp_path, "imagesTr", (NUMBERS * 50).astype(np.uint8), "_0000")
    write(tmp_path, "labelsTr", NUMBERS)
    labels = {"background": 0, "liver": [1, 2], "vessel": [2, 3]}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    return tmp_path


def read(root: Path, **settings: Any) -> RegionSamples:
    return read_region("r", RegionConfig(data=(str(root),), **settings), base=root, dims=3)


@pytest.mark.parametrize("layout", ["folders", "nnunet"])
def test_structures_are_read_as_bits_in_ras_axes(layout: str, request: pytest.FixtureRequest) -> None:
    samples = read(request.getfixturevalue(layout), overlap=True)
    assert (samples.region.task, samples.region.classes) == ("structures", ("liver", "vessel"))
    for case in range(3):
        for index, there in enumerate(THERE.values()):
            np.testing.assert_array_equal(samples.masks[case] >> index & 1, there[case][::-1])
    assert samples.spacings == ((1.0, 1.0, 2.0),) * 3


def test_structures_of_folders_are_chosen_and_ordered(folders: Path) -> None:
    samples = read(folders, overlap=True, structures=["vessel", "liver"])
    np.testing.assert_array_equal(samples.masks[0] & 1, THERE["vessel"][0][::-1])
    assert read(folders, overlap=True, structures=["vessel"]).region.classes == ("vessel",)


def test_without_overlap_the_key_is_named(folders: Path) -> None:
    with pytest.raises(UsageError, match=r"a folder for each structure \(liver, vessel\); required: overlap: true"):
        read(folders)
    with pytest.raises(UsageError, match="structures without numbers"):
        read(folders, overlap=True, structures={"liver": 1})
    with pytest.raises(UsageError, match="no folder 'spleen' in"):
        read(folders, overlap=True, structures=["spleen"])


def test_lists_of_labels_without_overlap_name_the_key(nnunet: Path) -> None:
    with pytest.raises(DataError, match="'liver' is a list of labels, so structures overlap; required: overlap: true"):
        read(nnunet)


def test_a_missing_mask_or_another_grid_of_one_structure_is_refused(folders: Path) -> None:
    path = folders / "labels" / "vessel" / "case1.nii.gz"
    nibabel.save(nibabel.Nifti1Image(THERE["vessel"][1].astype(np.uint8), np.diag([-1.0, 1.0, 3.0, 1.0])), path)
    with pytest.raises(LorkitError, match=r"vessel/case1\.nii\.gz and its image have different affines"):
        read(folders, overlap=True)
    path.unlink()
    with pytest.raises(LorkitError, match="no mask of 'vessel' for case 'case1'"):
        read(folders, overlap=True)


@pytest.mark.parametrize("layout", ["folders", "nnunet"])
def test_a_draft_says_that_structures_overlap(layout: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(layout)
    draft = draft_region(FoundSource("liver", root, masks=True))
    assert draft.settings["overlap"] is True
    assert draft.size.labels == 2
