"""A mask that was made on turned axes lies on the voxels of its file."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lorkit.export.prediction.nifti_grid import nifti_bytes


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SLA"])
def test_a_mask_comes_back_on_the_axes_and_the_affine_of_the_file(
    write_volume: Callable[..., Path], tmp_path: Path, axes: str
) -> None:
    path = write_volume(tmp_path / "image.nii.gz", axes=axes)
    image = nib.load(path)
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
