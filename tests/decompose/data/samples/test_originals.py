from __future__ import annotations

import numpy as np
import pytest

from lorkit.decompose.data.samples.originals import OriginalMasks, tolerances_of
from lorkit.decompose.errors import UsageError

MASKS = [np.full((4, 5 + index), index, dtype=np.uint8) for index in range(3)]


def test_masks_keep_their_size_and_spacing_and_are_in_the_order_taken() -> None:
    spacings = ((1.0, 2.0), (3.0, 4.0), (5.0, 6.0))
    whole = OriginalMasks(masks=MASKS, spacings=spacings, tolerances=(1.0,), indices=(0, 1, 2))
    found = whole.take([2, 0]).take([1, 0])
    assert len(found) == 2
    assert [(int(one.mask[0, 0]), one.mask.shape, one.spacing) for one in (found[0], found[1])] == [
        (0, (4, 5), (1.0, 2.0)),
        (2, (4, 7), (5.0, 6.0)),
    ]
    assert found.unit == "mm"


def test_without_the_spacing_of_every_sample_distances_are_in_pixels() -> None:
    """One unit for all: a mean of millimetres and pixels would say nothing."""
    some = OriginalMasks(masks=MASKS, spacings=((2.0, 2.0), None, None), tolerances=(1.0,), indices=(0, 1))
    assert (some.unit, some[0].spacing) == ("pixels", (1.0, 1.0))
    assert (some.take([0]).unit, some.take([0])[0].spacing) == ("mm", (2.0, 2.0))
    volumes = OriginalMasks(masks=[np.zeros((2, 2, 2), np.uint8)], spacings=(None,), tolerances=(), indices=(0,))
    assert volumes.unit == "voxels"


def test_tolerances_are_of_all_structures_or_by_name() -> None:
    assert tolerances_of("eye", 2.0, ("disc", "cup")) == (2.0, 2.0)
    assert tolerances_of("eye", {"cup": 0.5}, ("disc", "cup")) == (1.0, 0.5)
    with pytest.raises(UsageError, match="nsd_tolerance_mm for 'vessel'; required: a structure of the region: disc"):
        tolerances_of("eye", {"vessel": 0.5}, ("disc", "cup"))
