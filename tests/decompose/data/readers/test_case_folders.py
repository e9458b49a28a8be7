"""Cases as TotalSegmentator writes them: a folder per case with its volume and a mask of each structure."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.readers import case_folders
from lorkit.decompose.data.readers.configuration_drafts import draft_configurations
from lorkit.decompose.data.readers.discovery import discover
from lorkit.decompose.data.readers.registry import read_region
from lorkit.decompose.data.samples.samples import RegionSamples
from lorkit.decompose.errors import DataError, LorkitError, UsageError

AFFINE = np.diag([-1.0, 1.0, 2.0, 1.0])
"""First axis to the left, so that masks are turned."""
NUMBERS = np.random.default_rng(0).integers(0, 4, (12, 5, 6, 7)).astype(np.uint8)
APART = {"spleen": NUMBERS == 1, "liver": NUMBERS == 2, "colon": NUMBERS == 3, "brain": NUMBERS > 9}
SHARED = APART | {"vessel": np.isin(NUMBERS, [2, 3])}


def write(root: Path, there: dict[str, np.ndarray], image: str = "ct.nii.gz") -> Path:
    for case, values in enumerate(NUMBERS):
        folder = root / f"s{case:04}"
        (folder / "segmentations").mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(values.astype(np.int16) * 300 - 700, AFFINE), folder / image)
        for name, masks in there.items():
            mask = nibabel.Nifti1Image(masks[case].astype(np.uint8), AFFINE)
            nibabel.save(mask, folder / "segmentations" / f"{name}.nii.gz")
    return root


def read(root: Path, **settings: Any) -> RegionSamples:
    return read_region("r", RegionConfig(data=(str(root),), **settings), base=root, dims=3, complete=False)


def test_structures_that_share_no_voxel_are_numbers_in_the_order_of_the_region(tmp_path: Path) -> None:
    samples = read(write(tmp_path, APART), structures=["liver", "colon", "spleen"])
    assert (samples.region.task, samples.region.classes) == ("segmentation", ("liver", "colon", "spleen"))
    expected = np.array([0, 3, 1, 2], dtype=np.uint8)[NUMBERS]
    for case in range(len(NUMBERS)):
        np.testing.assert_array_equal(samples.masks[case], expected[case][::-1])
        np.testing.assert_array_equal(samples.images[case], NUMBERS[case][::-1].astype(float) * 300 - 700)
    assert samples.spacings == ((1.0, 1.0, 2.0),) * len(NUMBERS)
    assert samples.ids[:2] == ("s0000", "s0001")


@pytest.mark.parametrize("image", ["mri.nii.gz", "ct.nii"])
def test_structures_that_overlap_are_bits(tmp_path: Path, image: str) -> None:
    samples = read(write(tmp_path, SHARED, image), overlap=True, structures=["vessel", "liver"])
    assert samples.region.task == "structures"
    for index, name in enumerate(samples.region.classes):
        np.testing.assert_array_equal(samples.masks[4] >> index & 1, SHARED[name][4][::-1])


def test_structures_that_share_voxels_need_overlap(tmp_path: Path) -> None:
    write(tmp_path, SHARED)
    shared = int((NUMBERS[0] == 2).sum())
    with pytest.raises(DataError, match=rf"vessel\.nii\.gz and liver\.nii\.gz share {shared} voxels; required: over"):
        read(tmp_path, structures=["liver", "vessel"])
    assert read(tmp_path, structures=["liver", "colon"]).region.classes == ("liver", "colon")


def test_parts_and_columns_come_from_the_table(tmp_path: Path) -> None:
    write(tmp_path, APART)
    rows = [f"s{case:04};{('train', 'val', 'test')[case % 3]};{'mf'[case % 2]}" for case in (*range(12), 99)]
    (tmp_path / "meta.csv").write_text("\n".join(["image_id;split;gender", *rows]))
    samples = read(tmp_path, structures=["liver"])
    assert samples.parts == ("train", "val", "test") * 4
    assert samples.columns == {"gender": ("m", "f") * 6}
    (tmp_path / "meta.csv").write_text("\n".join(["image_id;split;gender", *rows[1:]]))
    with pytest.raises(DataError, match="no row of case 's0000'"):
        read(tmp_path, structures=["liver"])


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    write(tmp_path, APART)
    case = tmp_path / "s0003"
    with pytest.raises(UsageError, match=r"unknown structure 'livr'.*did you mean 'liver'"):
        read(tmp_path, structures=["livr"])
    with pytest.raises(UsageError, match="structures without numbers"):
        read(tmp_path, structures={"liver": 1})
    shutil.copy(case / "ct.nii.gz", case / "mri.nii.gz")
    with pytest.raises(DataError, match=r"s0003 holds ct\.nii\.gz and mri\.nii\.gz"):
        read(tmp_path)
    (case / "ct.nii.gz").unlink()
    (case / "mri.nii.gz").unlink()
    with pytest.raises(DataError, match="s0003 holds no volume"):
        read(tmp_path)
    shutil.copy(tmp_path / "s0001" / "ct.nii.gz", case / "ct.nii.gz")
    nibabel.save(nibabel.Nifti1Image(NUMBERS[3], np.eye(4)), case / "segmentations" / "liver.nii.gz")
    with pytest.raises(LorkitError, match=r"liver\.nii\.gz and its image have different affines"):
        read(tmp_path)
    (case / "segmentations" / "liver.nii.gz").unlink()
    with pytest.raises(DataError, match=r"no mask of 'liver' in .*s0003"):
        read(tmp_path)
    assert read(tmp_path, structures=["colon"]).region.classes == ("colon",)
    shutil.rmtree(case / "segmentations")
    with pytest.raises(DataError, match=r"no folder 'segmentations' in .*s0003"):
        read(tmp_path)


@pytest.mark.parametrize(("there", "task"), [(APART, "segmentation"), (SHARED, "structures")])
def test_a_draft_says_whether_structures_overlap(tmp_path: Path, there: dict[str, np.ndarray], task: str) -> None:
    found = discover(write(tmp_path / "totals", there))
    assert [(one.name, one.masks, one.problem) for one in found] == [("totals", True, "")]
    (draft,), problems = draft_configurations(found)
    (region,) = draft.regions
    assert problems == {}
    assert draft.kind == "volume-masks"
    assert region.settings["task"] == task
    assert region.settings.get("overlap", False) == (task == "structures")
    assert region.settings["structures"] == sorted(there.keys() - {"brain"})
    assert "in no mask, and left out: brain" in region.notes


def test_a_draft_of_many_structures_that_overlap_keeps_the_largest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(case_folders, "MOST_OVERLAPPING", 2)
    keys, notes = case_folders.draft(write(tmp_path, SHARED))
    sizes = sorted(SHARED, key=lambda name: -SHARED[name].sum())
    assert keys["structures"] == sorted(sizes[:2])
    assert "only the 2 largest of 4 structures" in notes
