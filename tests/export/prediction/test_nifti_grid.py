"""A mask that was made on turned axes lies on the voxels of its file."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lorkit.export.prediction.nifti_grid import is_nifti, nifti_bytes, oriented, voxel_ml


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
    assert oriented(image)


def test_a_picture_that_is_shown_front_on_top_is_turned_back(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float32).reshape(4, 3, 1)
    nib.save(nib.Nifti1Image(values, np.diag([1.0, 1.0, 1.0, 1.0])), tmp_path / "slice.nii")
    shown = (values[..., 0].T[::-1, ::-1] > 6).astype(np.uint8)
    found = nib.Nifti1Image.from_bytes(gzip.decompress(nifti_bytes(shown, tmp_path / "slice.nii")))
    np.testing.assert_array_equal(np.asarray(found.dataobj), values > 6)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1.0), ("unknown", 1.0), ("micron", 1e-9), ("meter", 1e9)])
def test_a_voxel_has_the_volume_that_its_header_states(tmp_path: Path, unit: str, factor: float) -> None:
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.diag([1.0, 2.0, 3.0, 1.0]))
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii")
    assert voxel_ml(tmp_path / "a.nii") == pytest.approx(0.006 * factor)


def test_files_are_known_by_name() -> None:
    names = ("a.nii", "a.NII.GZ", "a.gz", "nii")
    assert [is_nifti(Path(name)) for name in names] == [True, True, False, False]
