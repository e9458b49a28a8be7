"""Headers of NIfTI files: what is wrong with a file is said in words, not in codes."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from lorkit.decompose.data.formats.nifti import load, read
from lorkit.decompose.data.formats.nifti_header import needed_bytes, parse
from lorkit.decompose.errors import DataError

RGB = [("R", "u1"), ("G", "u1"), ("B", "u1")]


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(("size", "message"), [(0, "it is empty"), (64, "64 bytes, shorter than the header of 348")])
def test_a_file_without_a_whole_header_says_so(tmp_path: Path, name: str, size: int, message: str) -> None:
    path, content = tmp_path / name, bytes(size)
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    for voxels in (True, False):
        with pytest.raises(DataError, match=rf"{name} cannot be read \({message}\)"):
            load(path, voxels=voxels)


def test_a_file_of_no_bytes_is_empty_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"")
    with pytest.raises(DataError, match="it is empty"):
        read(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(
    ("dtype", "words"),
    [(np.complex64, "complex numbers"), (np.complex128, "complex numbers"), (np.dtype(RGB), r"colours \(RGB\)"),
     (np.dtype([*RGB, ("A", "u1")]), r"colours \(RGBA\)")],
)  # fmt: skip
def test_voxels_that_are_no_plain_numbers_are_named(tmp_path: Path, dtype: np.dtype, words: str) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 3, 4), dtype), np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match=rf"a\.nii\.gz holds {words}.*one plain number per voxel"):
        read(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_the_header_is_that_of_nibabel(tmp_path: Path, kind: type) -> None:
    nibabel.save(kind(np.zeros((2, 3, 4), np.int16), np.eye(4)), tmp_path / "a.nii")
    data = (tmp_path / "a.nii").read_bytes()
    found, header = parse(tmp_path / "a.nii", data[:1024])
    assert found is kind
    known = nibabel.load(tmp_path / "a.nii").header
    assert (header.get_data_shape(), header.get_data_dtype()) == ((2, 3, 4), np.int16)
    np.testing.assert_array_equal(header.get_best_affine(), known.get_best_affine())
    assert needed_bytes(tmp_path / "a.nii", header) == len(data)
