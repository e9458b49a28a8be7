from __future__ import annotations

import pytest

from lorkit.decompose.regions import Region
from lorkit.export.runtime.batch_size import fitting, output_shape

LABELS = Region(name="a", classes=("x", "y", "z"))
MASKS = Region(name="a", task="segmentation", classes=("x", "y"))


def test_outputs_are_one_number_per_class_or_a_map_per_structure_and_background() -> None:
    assert output_shape(LABELS, (1, 16, 8)) == (3,)
    assert output_shape(MASKS, (1, 4, 5, 6)) == (3, 4, 5, 6)


@pytest.mark.parametrize(("region", "each"), [(LABELS, 4 * (128 + 3)), (MASKS, 4 * (128 + 3 * 128))])
def test_as_many_images_fit_as_their_bytes_allow(region: Region, each: int) -> None:
    shape = (1, 16, 8)
    assert fitting(region, shape, most=100, total=7 * each) == 7
    assert fitting(region, shape, most=100, total=7 * each - 1) == 6
    assert (fitting(region, shape, most=5, total=7 * each), fitting(region, shape, most=5, total=1)) == (5, 1)
