"""Volume and mean intensity against a loop over voxels in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_volumes import write_series

from lorkit.decompose.data.formats.registry import open_image
from lorkit.decompose.data.formats.stored import StoredImage
from lorkit.decompose.errors import DataError
from lorkit.export.prediction.statistics import image_statistics
from lorkit.export.prediction.writers.base import LabelledMask, MaskLabel

LABELS = (MaskLabel(1, "liver", "a"), MaskLabel(2, "vessel", "a"), MaskLabel(3, "odd", "a"))


@pytest.mark.parametrize("overlapping", [False, True])
def test_means_are_of_the_values_of_the_file(tmp_path: Path, overlapping: bool) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (5, 6, 4)).astype(np.int16)
    folder = write_series(tmp_path / "case", values, np.diag([1.0, 2.0, 3.0, 1.0]), axes="IAR")
    mask = np.random.default_rng(1).integers(0, 3, values.shape).astype(np.uint8)
    found = image_statistics(open_image(folder), LabelledMask(folder, mask, LABELS, overlapping))
    assert found.unit == "HU"
    for label in LABELS[:2]:
        where = (mask & (1 << (label.value - 1)) != 0) if overlapping else mask == label.value
        own = found.structures[label.name]
        assert own.voxels == where.sum()
        assert own.ml == pytest.approx(where.sum() * 0.006)
        assert own.mean_value == pytest.approx((values[where].astype(np.float64) - 1000).mean())
    assert (found.structures["odd"].voxels, found.structures["odd"].mean_value) == (0, None)


def test_pictures_have_no_volume() -> None:
    image = StoredImage(format="PNG", values=np.zeros((4, 4), np.uint8))
    with pytest.raises(DataError, match=r"--statistics for a\.png, which is a picture"):
        image_statistics(image, LabelledMask(Path("a.png"), np.zeros((4, 4), np.uint8), LABELS))
