"""Surface distances by hand on boxes, and the same as MONAI on the whole masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.surface_dice import compute_surface_dice

from lorkit.decompose.artifacts.arrays import IGNORED, Mask
from lorkit.decompose.metrics.surfaces import surface_scores

SPACING = (1.0, 2.0, 3.0)


def box(*sides: tuple[int, int], value: int = 1, shape: tuple[int, ...] = (12, 12, 12)) -> Mask:
    mask = np.zeros(shape, dtype=np.uint8)
    mask[tuple(slice(*side) for side in sides)] = value
    return mask


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shifted_plate_is_as_far_as_the_spacing_of_its_axis(axis: int) -> None:
    """A plate is all surface; shifted by two voxels it is two spacings away everywhere."""
    sides = [(2, 10)] * 3
    sides[axis] = (4, 5)
    shifted = list(sides)
    shifted[axis] = (6, 7)
    distance = 2 * SPACING[axis]
    for tolerance, share in ((distance, 1.0), (distance - 0.01, 0.0)):
        found = surface_scores(box(*shifted), box(*sides), SPACING, [tolerance])
        np.testing.assert_allclose(found, [[share, distance]])


def test_a_longer_box_by_hand() -> None:
    """Lines of 4 and of 10 pixels: all of the first, and 4 + 2 of the second, lie within two pixels of the other."""
    one, two = np.zeros((3, 14), np.uint8), np.zeros((3, 14), np.uint8)
    one[1, 2:6], two[1, 2:12] = 1, 1
    (found,) = surface_scores(one, two, (1.0, 0.5), [1.0])
    assert found[0] == pytest.approx((4 + 6) / 14)
    # distances of the longer to the shorter: 0 of four, then 0.5 to 3.0; numpy's percentile
    assert found[1] == pytest.approx(np.percentile([0, 0, 0, 0, 0.5, 1, 1.5, 2, 2.5, 3], 95), rel=1e-6)


def test_a_structure_of_one_mask_or_of_neither() -> None:
    one, two = box((2, 4), (2, 4), (2, 4)), box((2, 4), (2, 4), (2, 4), value=2)
    np.testing.assert_array_equal(
        surface_scores(one, two, SPACING, [1.0] * 3), [[0.0, np.nan], [0.0, np.nan], [np.nan, np.nan]]
    )


def test_ignored_pixels_are_background_in_both() -> None:
    found, wanted = box((2, 10), (2, 10), (2, 10)), box((2, 6), (2, 10), (2, 10))
    wanted[6:] = IGNORED
    np.testing.assert_array_equal(surface_scores(found, wanted, SPACING, [0.0]), [[1.0, 0.0]])


@pytest.mark.parametrize("shape", [(14, 11), (10, 9, 8)])
def test_masks_have_the_values_of_monai_also_at_the_border(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    spacing, tolerances = SPACING[: len(shape)], [1.0, 2.5]
    for _ in range(5):
        found, wanted = (np.where(rng.random(shape) < 0.15, rng.integers(1, 3, shape), 0) for _ in range(2))
        hot = [torch.from_numpy(np.stack([mask == value for value in range(3)])[None]) for mask in (found, wanted)]
        nsd = compute_surface_dice(*hot, class_thresholds=tolerances, spacing=list(spacing))[0]
        hd95 = compute_hausdorff_distance(*hot, percentile=95, spacing=list(spacing))[0]
        rows = surface_scores(found.astype(np.uint8), wanted.astype(np.uint8), spacing, tolerances)
        np.testing.assert_allclose(rows, np.stack([nsd.numpy(), hd95.numpy()], axis=1), rtol=1e-6)
