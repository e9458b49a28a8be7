"""One entry for all formats."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_files import write_dicom
from PIL import Image

from lorkit.decompose.data.formats.registry import is_image, open_image
from lorkit.decompose.errors import DataError


def test_each_format_is_opened(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)), tmp_path / "a.nii.gz")
    write_dicom(tmp_path / "IM0001")
    found = {name: open_image(tmp_path / name).format for name in ("a.png", "a.nii.gz", "IM0001")}
    assert found == {"a.png": "PNG", "a.nii.gz": "NIfTI", "IM0001": "DICOM"}


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text", encoding="utf-8")
    assert not is_image(tmp_path / "a.txt")
    with pytest.raises(DataError, match=r"a\.txt has an unknown format; required: one of NIfTI"):
        open_image(tmp_path / "a.txt")
    with pytest.raises(DataError, match="no file at"):
        open_image(tmp_path / "none.png")
