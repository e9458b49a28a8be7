"""Slices are shown as radiologists read them, with outlines where the structures are."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from dicom_volumes import write_stored
from numpy.typing import NDArray
from PIL import Image

from lorkit.decompose.data.formats.registry import open_image
from lorkit.decompose.data.formats.stored import StoredImage
from lorkit.export.prediction.masks import colour
from lorkit.export.prediction.preview import preview
from lorkit.export.prediction.writers.base import LabelledMask, MaskLabel

LABELS = tuple(MaskLabel(value, name, "head") for value, name in enumerate(("right", "front", "top", "none"), start=1))
SIDE, MARGIN = 320, 8


def drawn(image: StoredImage, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    data = preview(image, LabelledMask(Path("a.nii"), mask, LABELS))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def centre(picture: NDArray[np.uint8], value: int) -> tuple[float, float]:
    """Return the mean (row, column) of the outline of a structure in a tile."""
    rows, columns = np.nonzero((picture == colour(value)).all(-1))
    return float(rows.mean()), float(columns.mean())


@pytest.mark.parametrize("axes", ["RAS", "LIA"])
def test_right_is_left_and_front_and_head_are_on_top(tmp_path: Path, axes: str) -> None:
    values = np.random.default_rng(0).normal(size=(20, 20, 10)).astype(np.float32)
    mask = np.zeros(values.shape, np.uint8)
    mask[15:18, 9:11, 4:6] = 1
    mask[9:11, 15:18, 4:6] = 2
    mask[9:11, 9:11, 8:9] = 3
    path = write_stored(tmp_path / "a.nii", values, np.diag([1.0, 1.0, 2.0, 1.0]), axes)
    picture = drawn(open_image(path), mask)
    axial, coronal, sagittal = (picture[MARGIN : MARGIN + SIDE, MARGIN + at : MARGIN + at + SIDE]
                                for at in (0, SIDE + MARGIN, 2 * (SIDE + MARGIN)))  # fmt: skip
    assert centre(axial, 1)[1] < SIDE / 3
    assert centre(axial, 2)[0] < SIDE / 3
    assert centre(coronal, 1)[1] < SIDE / 3
    assert centre(coronal, 3)[0] < SIDE / 3
    assert centre(sagittal, 2)[1] < SIDE / 3
    assert centre(sagittal, 3)[0] < SIDE / 3


def test_slices_keep_the_spacing_of_the_file(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(10, 10, 10)).astype(np.float32)
    path = write_stored(tmp_path / "a.nii", values, np.diag([1.0, 1.0, 4.0, 1.0]), "PSR")
    picture = drawn(open_image(path), np.zeros(values.shape, np.uint8))
    assert picture.shape[1] < 2 * SIDE + 120  # the coronal and sagittal tiles are four times as high as wide


def test_a_picture_is_shown_with_its_outlines() -> None:
    mask = np.zeros((16, 16), np.uint8)
    mask[2:6, 2:6] = 2
    picture = drawn(StoredImage(format="PNG", values=np.full((16, 16, 3), 90, np.uint8)), mask)
    assert centre(picture[: SIDE + MARGIN, : SIDE + MARGIN], 2) == pytest.approx((MARGIN + 80, MARGIN + 80), abs=4)


def test_no_copy_of_a_volume_in_float64_is_made(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, size=(96, 96, 96)).astype(np.uint8)
    image = open_image(write_stored(tmp_path / "a.nii", values, np.eye(4), "RAS"))
    mask = np.zeros(values.shape, np.uint8)
    tracemalloc.start()
    drawn(image, mask)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * values.size
