"""Masks of pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
    with pytest.raises(DataError, match=r"x\.dcm is a volume in one DICOM file"):
        [*PngWriter().encode(LabelledMask(Path("x.dcm"), np.zeros((2, 3, 4), np.uint8), LABELS), SOURCE)]
