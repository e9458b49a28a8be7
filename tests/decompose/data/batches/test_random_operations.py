"""Random operations against formulas in 64 bits, and what masks, teachers and other batches see of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from lorkit.decompose.config import AugmentConfig, default_config
from lorkit.decompose.config.training import RandomConfig
from lorkit.decompose.data.batches import random_operations
from lorkit.decompose.data.batches.augmentation import affine, augment, augment_mask
from lorkit.decompose.data.batches.random_operations import OPERATIONS, change_intensities, draw_geometry
from lorkit.decompose.data.random_numbers import keys
from lorkit.decompose.errors import UsageError

COUNT = 400
KEY = keys(3, np.arange(COUNT))
ONLY = {"flip": False, "shift": 0.0, "rotate": 0.0, "scale": 0.0, "intensity": 0.0}
NAMES = {name: getattr(random_operations, f"_{name.upper()}") for name in ("gamma", "contrast", "brightness", "noise")}
NAMES["sharpness"] = random_operations._SHARPNESS


def smooth(count: int, size: tuple[int, ...]) -> torch.Tensor:
    """Draw images that hardly change within a few pixels."""
    coarse = torch.rand(count, 1, *(3 for _ in size), generator=torch.Generator().manual_seed(0))
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return torch.nn.functional.interpolate(coarse, size, mode=mode, align_corners=True) * 0.8 + 0.1


def test_every_operation_is_drawn_as_often_and_magnitude_bounds_it() -> None:
    config = RandomConfig(operations=3, magnitude=0.4)
    chosen = np.stack([random_operations._operation(KEY, slot) for slot in range(3)])
    counts = np.bincount(chosen.ravel(), minlength=OPERATIONS)
    assert counts.min() > 0.7 * 3 * COUNT / OPERATIONS
    strength = np.stack([random_operations._strength(KEY, slot, config) for slot in range(3)])
    assert np.abs(strength).max() <= 0.4 < np.abs(strength).max() + 0.01
    assert not np.array_equal(chosen[0], chosen[1])
    found = draw_geometry(KEY, config)
    rotations = (chosen == random_operations._ROTATE) * strength * np.radians(30)
    np.testing.assert_allclose(found.angle, rotations.sum(0), atol=1e-6)
    still = ~np.isin(chosen, (random_operations._ROTATE, random_operations._SCALE, random_operations._SHIFT)).any(0)
    assert still.any()
    assert all((part[still] == 0).all() for part in (found.angle, found.log_scale, *found.shifts))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(6, 8), (4, 5, 6)])
def test_intensities_change_by_the_formula(name: str, size: tuple[int, ...]) -> None:
    image = torch.rand(COUNT, 2, *size, generator=torch.Generator().manual_seed(1))
    config = RandomConfig(operations=1, magnitude=0.8)
    rows = np.flatnonzero(random_operations._operation(KEY, 0) == NAMES[name])
    found = change_intensities(image, KEY, config, size)[rows].double().numpy()
    x = image[rows].double().numpy()
    s = random_operations._strength(KEY, 0, config)[rows].astype(np.float64).reshape(-1, *(1,) * (x.ndim - 1))
    if name == "noise":
        noise = (found - x) / (0.1 * s)
        inside = (found > 0) & (found < 1)
        assert abs(noise[inside].mean()) < 0.05
        assert noise[inside].std() == pytest.approx(1, abs=0.05)
        return
    formulas: dict[str, Callable[[], np.ndarray]] = {
        "gamma": lambda: x ** np.exp(0.7 * s),
        "contrast": lambda: (
            (x - x.mean(tuple(range(1, x.ndim)), keepdims=True)) * np.exp(0.7 * s)
            + x.mean(tuple(range(1, x.ndim)), keepdims=True)
        ),
        "brightness": lambda: x + 0.25 * s,
        "sharpness": lambda: x + s * (means(x) - x),
    }
    np.testing.assert_allclose(found, np.clip(formulas[name](), 0, 1), atol=2e-6)


def means(x: np.ndarray) -> np.ndarray:
    """Return the mean of each pixel and its neighbours, those outside left out."""
    result = np.empty_like(x)
    for at in np.ndindex(x.shape[2:]):
        window = tuple(slice(max(0, place - 1), place + 2) for place in at)
        result[(..., *at)] = x[(..., *window)].mean(tuple(range(2, x.ndim)))
    return result


@pytest.mark.parametrize("size", [(24, 24), (12, 16, 16)])
def test_masks_follow_and_nothing_is_mirrored(size: tuple[int, ...]) -> None:
    config = AugmentConfig.model_validate({**ONLY, "random": {"operations": 4, "magnitude": 1.0}})
    theta = affine(KEY, config, size)
    assert (torch.linalg.det(theta[:, :, :-1]) > 0).all()
    mask = (smooth(COUNT, size)[:, 0] > 0.5).to(torch.uint8)
    moved = augment_mask(mask, KEY, config)
    assert not torch.equal(moved, mask)
    # an image of the mask, without the intensity operations, has the same outlines
    plain = config.model_copy(update={"random": RandomConfig(operations=4, magnitude=1.0)})
    chosen = np.stack([random_operations._operation(KEY, slot) for slot in range(4)])
    rows = np.flatnonzero((chosen < random_operations._GAMMA).all(0))
    assert rows.size
    image = augment(mask[rows][:, None].float(), KEY[rows], plain)[:, 0]
    assert ((image > 0.5) == (moved[rows] == 1)).float().mean() > 0.97


def test_a_sample_is_changed_alike_in_any_batch_and_in_no_other_pass() -> None:
    config = AugmentConfig.model_validate({"random": {"operations": 3}})
    x = torch.rand(32, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    whole = augment(x, KEY[:32], config)
    torch.testing.assert_close(augment(x[5:9], KEY[5:9], config), whole[5:9], rtol=0, atol=1e-6)
    assert torch.equal(augment(x, KEY[:32], config), whole)
    assert not torch.equal(augment(x, KEY[32:64], config), whole)
    assert whole.min() >= 0
    assert whole.max() <= 1


def test_a_teacher_of_another_size_sees_the_same_image() -> None:
    config = AugmentConfig.model_validate({**ONLY, "random": {"operations": 3, "magnitude": 0.8}})
    large = smooth(64, (64, 64))
    small = torch.nn.functional.avg_pool2d(large, 2)
    found = torch.nn.functional.avg_pool2d(augment(large, KEY[:64], config, like=(32, 32)), 2)
    # but for the edge, where a half pixel lies outside of one of them
    difference = (found - augment(small, KEY[:64], config))[:, :, 4:-4, 4:-4].abs()
    assert difference.flatten(1).mean(1).max() < 0.02


def test_without_random_operations_nothing_changes() -> None:
    x = torch.rand(8, 1, 16, 16)
    assert torch.equal(augment(x, KEY[:8], AugmentConfig()), augment(x, KEY[:8], AugmentConfig(random=None)))


@pytest.mark.parametrize("stated", ["{operations: 0}", "{magnitude: 0}", "{magnitude: 1.5}", "{shear: 1}"])
def test_wrong_settings_are_refused_in_one_line(stated: str) -> None:
    with pytest.raises(UsageError, match=r"train\.augment\.random") as caught:
        default_config(overrides=[f"train.augment={{random: {stated}}}"])
    assert "\n" not in str(caught.value)
