"""A mask that was made on turned axes lies on the voxels of its file."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lorkit.decompose.data.formats.nifti import read
from lorkit.decompose.data.formats.nifti_grid import nifti_bytes


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SLA"])
def test_a_mask_comes_back_on_the_axes_and_the_affine_of_the_file(tmp_path: Path, axes: str) -> None:
    turns = nib.orientations
    turn = turns.ornt_transform(turns.axcodes2ornt("RAS"), turns.axcodes2ornt(axes))
    values = np.random.default_rng(0).random((5, 6, 7), dtype=np.float32)
    affine = np.diag([1.0, 2.0, 3.0, 1.0]) @ turns.inv_ornt_aff(turn, values.shape)
    path = tmp_path / "image.nii.gz"
    nib.save(nib.Nifti1Image(turns.apply_orientation(values, turn), affine), path)
    image = nib.load(path)
    assert nib.aff2axcodes(image.affine) == tuple(axes)
    mask = (np.asarray(nib.as_closest_canonical(image).dataobj) > 0.5).astype(np.uint8)
    found = nib.Nifti1Image.from_bytes(gzip.decompress(nifti_bytes(mask, path)))
    np.testing.assert_array_equal(np.asarray(found.dataobj), np.asarray(image.dataobj) > 0.5)
    np.testing.assert_allclose(found.affine, image.affine)
    assert found.get_data_dtype() == np.uint8


def test_a_picture_that_is_shown_front_on_top_is_turned_back(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float32).reshape(4, 3, 1)
    nib.save(nib.Nifti1Image(values, np.diag([1.0, 1.0, 1.0, 1.0])), tmp_path / "slice.nii")
    shown = (values[..., 0].T[::-1, ::-1] > 6).astype(np.uint8)
    found = nib.Nifti1Image.from_bytes(gzip.decompress(nifti_bytes(shown, tmp_path / "slice.nii")))
    np.testing.assert_array_equal(np.asarray(found.dataobj), values > 6)


def test_a_mask_of_a_volume_without_orientation_lies_on_the_axes_of_its_file(tmp_path: Path) -> None:
    values = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    nib.save(
        nib.Nifti1Image(values, None), tmp_path / "a.nii"
    )  # nibabel gives it an affine that mirrors the first axis
    seen = read(tmp_path / "a.nii")
    mask = (seen.orient(seen.values) > 60).astype(np.uint8)
    found = nib.Nifti1Image.from_bytes(gzip.decompress(nifti_bytes(mask, tmp_path / "a.nii")))
    np.testing.assert_array_equal(np.asarray(found.dataobj), values > 60)
