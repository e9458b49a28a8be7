"""Augmentation against plain geometry, and its independence of the batch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from lorkit.decompose.config import AugmentConfig
from lorkit.decompose.config.regions import RegionAugment
from lorkit.decompose.config.training import RandomConfig
from lorkit.decompose.data.batches.augmentation import affine, augment, augment_mask, augment_of
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.data.random_numbers import keys, uniform

OFF = {"flip": False, "shift": 0.0, "rotate": 0.0, "scale": 0.0, "intensity": 0.0}


def images(count: int = 6, planes: int = 1, height: int = 12, width: int = 16) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).random((count, planes, height, width), dtype=np.float32))


def test_everything_off_changes_nothing() -> None:
    x = images()
    assert torch.equal(augment(x, keys(0, np.arange(6)), AugmentConfig(**OFF)), x)


def test_mirror_alone_is_exact_and_hits_about_half() -> None:
    x, key = images(200), keys(0, np.arange(200))
    out = augment(x, key, AugmentConfig(**{**OFF, "flip": True}))
    mirrored = uniform(key, 0) < 0.5
    assert 70 < mirrored.sum() < 130
    for row in range(200):
        assert torch.equal(out[row], x[row].flip(-1) if mirrored[row] else x[row])


def test_mirror_through_the_affine_map_is_the_same() -> None:
    x, key = images(8), keys(0, np.arange(8))
    plain = augment(x, key, AugmentConfig(**{**OFF, "flip": True}))
    through = augment(x, key, AugmentConfig(**{**OFF, "flip": True, "scale": 1e-9}))
    torch.testing.assert_close(plain, through, atol=1e-4, rtol=0)


def test_rotation_is_a_rotation_in_pixels_for_oblong_images() -> None:
    height, width = 20, 40
    config = AugmentConfig(**{**OFF, "rotate": 90.0})
    theta = affine(keys(1, np.arange(50)), config, (height, width)).double().numpy()
    half = np.array([width / 2, height / 2])
    for matrix in theta[:, :, :2]:
        pixels = matrix * half[:, None] / half[None, :]
        np.testing.assert_allclose(pixels @ pixels.T, np.eye(2), atol=1e-5)
        assert np.linalg.det(pixels) == pytest.approx(1, abs=1e-5)


def test_only_the_stated_share_is_resampled() -> None:
    x, key = images(400), keys(3, np.arange(400))
    for share in (0.0, 0.5, 1.0):
        out = augment(x, key, AugmentConfig(**{**OFF, "shift": 0.1, "rotate": 8.0, "scale": 0.1, "share": share}))
        changed = (out - x).abs().flatten(1).max(1).values > 1e-4
        assert abs(float(changed.float().mean()) - share) < 0.08


def test_shift_moves_by_the_drawn_fraction() -> None:
    key = keys(2, np.arange(40))
    theta = affine(key, AugmentConfig(**{**OFF, "shift": 0.25, "share": 1.0}), (16, 16)).numpy()
    assert np.abs(theta[:, :, 2]).max() <= 0.5
    assert np.abs(theta[:, :, 2]).max() > 0.4
    np.testing.assert_allclose(theta[:, :, :2], np.broadcast_to(np.eye(2), (40, 2, 2)), atol=1e-7)


def test_a_region_states_its_own_random_operations() -> None:
    everywhere = AugmentConfig(random=RandomConfig(operations=3))
    own = RandomConfig(operations=1, magnitude=0.2)
    for stated, wanted in ((None, everywhere.random), (own, own), (False, None)):
        region = cast("PreparedRegion", SimpleNamespace(augment=RegionAugment(rotate=1.0, random=stated)))
        found = augment_of(region, everywhere)
        assert found == everywhere.model_copy(update={"rotate": 1.0, "random": wanted})
    image = torch.rand(2, 1, 8, 8)
    region = cast("PreparedRegion", SimpleNamespace(augment=RegionAugment(random=own)))
    changed = augment_of(region, AugmentConfig(**OFF))
    assert changed is not None
    assert not torch.equal(augment(image, keys(0, np.arange(2)), changed), image)


def test_intensity_stays_in_range_and_keeps_order() -> None:
    x = images()
    out = augment(x, keys(0, np.arange(6)), AugmentConfig(**{**OFF, "intensity": 0.4}))
    assert out.min() >= 0
    assert out.max() <= 1
    assert not torch.equal(out, x)
    inside = (out > 0) & (out < 1)
    for row in range(6):
        values = x[row][inside[row]]
        assert torch.equal(values.argsort(), out[row][inside[row]].argsort())


def test_a_sample_is_changed_alike_in_any_batch() -> None:
    x, key = images(6, planes=3), keys(7, np.arange(6))
    config = AugmentConfig(rotate=20.0, shift=0.1)
    whole = augment(x, key, config)
    part = augment(x[[4, 1]], key[[4, 1]], config)
    torch.testing.assert_close(part, whole[[4, 1]], atol=1e-6, rtol=0)
    assert whole.shape == x.shape


def test_both_images_show_the_same_after_every_change() -> None:
    """A blob lands at the same relative place whatever size, aspect included, it is augmented at."""
    rng = np.random.default_rng(0)
    key = rng.integers(0, 2**63, 32, dtype=np.uint64)
    config = AugmentConfig(share=1.0, rotate=40, shift=0.1, scale=0.1, intensity=0.0)

    def centres(size: tuple[int, int], like: tuple[int, int] | None) -> np.ndarray:
        y, x = (torch.arange(side).add(0.5) / side for side in size)
        blob = torch.exp(-(((y[:, None] - 0.4) / 0.12) ** 2) - ((x[None] - 0.6) / 0.12) ** 2)
        moved = augment(blob.expand(32, 1, *size).clone(), key, config, like=like)[:, 0]
        total = moved.sum((1, 2))
        return torch.stack([(moved.sum(2) @ y) / total, (moved.sum(1) @ x) / total], 1).numpy()

    student = centres((40, 40), None)
    np.testing.assert_allclose(centres((96, 96), (40, 40)), student, atol=0.01)
    np.testing.assert_allclose(centres((40, 120), (40, 40)), student, atol=0.01)
    assert np.abs(centres((40, 120), None) - student).max() > 0.03  # in its own pixels it would turn otherwise


@pytest.mark.parametrize("other", [{}, {"scale": 1e-9}], ids=["alone", "through the affine map"])
def test_volumes_and_their_masks_are_mirrored_left_to_right_alone(other: dict[str, float]) -> None:
    """Volumes are in RAS axes: left and right are the ends of the first axis, which is not the last."""
    key = keys(0, np.arange(20))
    mask = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (20, 6, 5, 4), dtype=np.uint8))
    config = AugmentConfig(**{**OFF, "flip": True, **other})
    mirrored = torch.from_numpy(uniform(key, 0) < 0.5)
    assert 5 < mirrored.sum() < 15
    expected = torch.where(mirrored[:, None, None, None], mask.flip(1), mask)
    assert torch.equal(augment_mask(mask, key, config), expected)
    volume = augment(mask[:, None].float(), key, config)[:, 0]
    torch.testing.assert_close(volume, expected.float(), atol=1e-5, rtol=0)


def test_contrast_and_brightness_are_changed_about_the_middle_by_at_most_the_stated_range() -> None:
    key, span = keys(0, np.arange(400)), 0.4
    levels = torch.tensor([0.4, 0.5, 0.6]).view(1, 1, 1, 3).expand(400, 1, 1, 3)
    low, middle, high = augment(levels, key, AugmentConfig(**{**OFF, "intensity": span})).flatten(1).double().unbind(1)
    for gain in (high - middle) / 0.1, (middle - low) / 0.1:
        assert gain.aminmax() == pytest.approx((1 - span, 1 + span), abs=0.02)
    assert (middle - 0.5).aminmax() == pytest.approx((-span / 2, span / 2), abs=0.01)
    assert abs(np.corrcoef((high - middle).numpy(), middle.numpy())[0, 1]) < 0.15, "drawn independently"


def test_volumes_turn_in_the_plane_of_their_first_two_axes_and_scale_along_all() -> None:
    depth, height, width = 20, 40, 10
    config = AugmentConfig(**{**OFF, "flip": True, "rotate": 60.0, "scale": 0.2, "shift": 0.1, "share": 1.0})
    theta = affine(keys(1, np.arange(60)), config, (depth, height, width)).double().numpy()
    half = np.array([width, height, depth]) / 2
    scales, angles, signs = [], [], []
    for matrix in theta[:, :, :3]:
        pixels = matrix * half[:, None] / half[None, :]
        scale = 1 / pixels[0, 0]
        np.testing.assert_allclose(scale**2 * pixels @ pixels.T, np.eye(3), atol=1e-5)
        np.testing.assert_allclose(pixels[0, 1:], 0, atol=1e-7)
        scales.append(scale)
        angles.append(np.degrees(np.arccos(np.clip(scale * pixels[1, 1], -1, 1))))
        signs.append(np.sign(np.linalg.det(pixels)))
    assert 1 / 1.2 - 1e-6 <= min(scales) < 0.87
    assert 1.15 < max(scales) <= 1.2 + 1e-6
    assert 50 < max(angles) <= 60 + 1e-3
    assert set(signs) == {-1, 1}
    shifts = theta[:, :, 3]
    assert ((np.abs(shifts).max(axis=0) > 0.17) & (np.abs(shifts).max(axis=0) <= 0.2)).all()
    assert np.abs(np.corrcoef(shifts.T) - np.eye(3)).max() < 0.4


def test_only_the_drawn_share_of_volumes_is_moved() -> None:
    config = AugmentConfig(**{**OFF, "rotate": 60.0, "scale": 0.2, "shift": 0.1, "share": 0.25})
    theta = affine(keys(1, np.arange(400)), config, (8, 8, 8)).numpy()
    still = (theta == np.eye(3, 4, dtype=np.float32)).all((1, 2))
    assert abs(still.mean() - 0.75) < 0.06


def test_bits_of_masks_are_moved_like_each_structure_alone() -> None:
    """Thirty-one structures and ignored pixels are more than float32 holds; each moves as a mask of its own."""
    config = AugmentConfig(flip=True, share=1.0, shift=0.1, rotate=20, scale=0.2)
    key = keys(0, 1, 2, np.arange(3))
    mask = torch.randint(0, 2**32, (3, 12, 10), generator=torch.Generator().manual_seed(0))
    moved = augment_mask(mask, key, config)
    assert not torch.equal(moved, mask)
    for bit in range(32):
        torch.testing.assert_close((moved >> bit) & 1, augment_mask((mask >> bit) & 1, key, config))
