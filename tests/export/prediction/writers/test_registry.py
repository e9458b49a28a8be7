"""The writer of each kind of image."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorkit.decompose.errors import UsageError
from lorkit.export.prediction.writers.registry import check_format, writer_of


def test_a_format_is_chosen_by_the_image_unless_it_is_named() -> None:
    assert writer_of(Path("a.nii.gz")).name == "nifti"
    assert writer_of(Path("a.png")).name == "png"
    with pytest.raises(UsageError, match=r"a\.nii"):
        writer_of(Path("a.nii"), "dicom-seg")


def test_an_unknown_format_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="did you mean 'dicom-seg'"):
        check_format("dicomseg")
    check_format(None)
