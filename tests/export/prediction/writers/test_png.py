"""Masks of pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from dicom_files import PIXELS, write_dicom
from PIL import Image
from pydicom.uid import SegmentationStorage

from lorkit.decompose.errors import DataError
from lorkit.export.prediction.writers.base import LabelledMask, MaskLabel, MaskSource
from lorkit.export.prediction.writers.png import PngWriter

LABELS = (MaskLabel(1, "a", "r"), MaskLabel(2, "b", "r"))
SOURCE = MaskSource("r", "expert", {"r": ""}, "1")


def test_overlapping_structures_get_a_picture_each() -> None:
    bits = np.array([[0, 1], [2, 3]], np.uint8)
    writer = PngWriter()
    one = [*writer.encode(LabelledMask(Path("x.png"), bits, LABELS), SOURCE)]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(one[0]))), bits)
    two = [*writer.encode(LabelledMask(Path("x.png"), bits, LABELS, overlapping=True), SOURCE)]
    assert len(two) == len(writer.suffixes(LABELS, overlapping=True)) == 2
    for value, data in enumerate(two, start=1):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), np.where(bits & value, value, 0))


def test_a_volume_of_several_frames_is_no_picture() -> None:
    with pytest.raises(DataError, match=r"x\.dcm holds several frames in one DICOM file"):
        [*PngWriter().encode(LabelledMask(Path("x.dcm"), np.zeros((2, 3, 4), np.uint8), LABELS), SOURCE)]


def test_several_frames_are_refused_before_the_network_runs(tmp_path: Path) -> None:
    PngWriter().check(write_dicom(tmp_path / "one.dcm"))
    frames = write_dicom(tmp_path / "two.dcm", np.stack([PIXELS, PIXELS]), NumberOfFrames="2")
    with pytest.raises(DataError, match=r"two\.dcm holds several frames .*convert it with dcm2niix"):
        PngWriter().check(frames)
    other = write_dicom(tmp_path / "seg.dcm", SOPClassUID=SegmentationStorage)
    with pytest.raises(DataError, match=r"seg\.dcm is a segmentation object"):
        PngWriter().check(other)
