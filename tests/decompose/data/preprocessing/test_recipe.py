"""The recipe: intensity rules, antialiased resizing, channels, and its life as data."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lorkit.decompose.config import ImageConfig, RegionConfig
from lorkit.decompose.data.preprocessing.recipe import (
    apply_recipe,
    build_recipe,
    intensity_step,
    prepared_size,
    range_notice,
    resampled_size,
    resize_image,
    resize_mask,
    to_unit,
)
from lorkit.decompose.documents.base import parse
from lorkit.decompose.documents.recipe import Intensity, Recipe
from lorkit.decompose.errors import ArtifactError, DataError


def recipe(size: Any = (8, 8), channels: int = 1, **region: Any) -> Recipe:
    image = ImageConfig.model_validate({"size": size, "channels": channels})
    return build_recipe(image, RegionConfig(data=("x.npz",), **region))


@pytest.mark.parametrize(("dtype", "largest"), [(np.uint8, 255), (np.uint16, 65535)])
def test_dtype_rule_divides_by_the_range(dtype: Any, largest: int) -> None:
    image = np.full((8, 8), largest, dtype=dtype)
    image[0, 0] = 0
    out = apply_recipe(recipe(), image)
    assert out.dtype == np.float32
    assert out.shape == (1, 8, 8)
    assert out[0, 0, 0] == 0
    assert out[0, 1, 1] == 1


def test_window_is_linear_between_its_bounds_and_clips_outside() -> None:
    image = np.array([[-500.0, -160.0], [40.0, 900.0]], dtype=np.float32)
    out = to_unit(Intensity(op="intensity", rule="window", low=-160.0, high=240.0), image)
    np.testing.assert_allclose(out, [[0, 0], [0.5, 1]])


def test_percentile_ignores_the_outlier() -> None:
    image = np.linspace(100, 200, 64 * 64, dtype=np.float32).reshape(64, 64)
    image[0, 0] = 1e6
    out = apply_recipe(recipe((64, 64), intensity="percentile"), image)[0]
    assert abs(float(out[32, 0]) - 0.5) < 0.02
    assert out.max() == 1


def test_percentile_rule_maps_half_a_percent_at_either_end_to_black_and_white() -> None:
    """Of the numbers 0 to 1000 in any order, 5 is the lower limit and 995 the upper one."""
    image = np.random.default_rng(0).permutation(1001).astype(np.float32)[None]
    unit = to_unit(intensity_step(RegionConfig(data=("x",), intensity="percentile")), image)
    np.testing.assert_allclose(unit, np.clip((image - 5) / 990, 0, 1), atol=1e-6)


def test_constant_image_under_percentile_is_black_not_nan() -> None:
    assert not apply_recipe(recipe(intensity="percentile"), np.full((9, 9), 7, np.uint8)).any()


def test_float_images_need_units_unless_within_the_unit_interval() -> None:
    assert apply_recipe(recipe(), np.full((8, 8), 0.25, np.float32)).max() == np.float32(0.25)
    with pytest.raises(DataError, match="window"):
        apply_recipe(recipe(), np.full((8, 8), 300.0, np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_pixels_are_refused_under_every_rule(bad: float) -> None:
    image = np.zeros((8, 8), np.float32)
    image[3, 3] = bad
    for settings_ in ({}, {"intensity": "percentile"}, {"window": (0.0, 1.0)}):
        with pytest.raises(DataError, match="NaN"):
            apply_recipe(recipe(**settings_), image)


@pytest.mark.parametrize("shape", [(8,), (8, 8, 4), (2, 8, 8, 3), (0, 8)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="shape"):
        apply_recipe(recipe(), np.zeros(shape, np.uint8))


def test_signed_integers_are_refused() -> None:
    with pytest.raises(DataError, match="int16"):
        apply_recipe(recipe(), np.zeros((8, 8), np.int16))


def test_shrinking_averages_instead_of_skipping_pixels() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    out = apply_recipe(recipe((16, 16)), stripes)
    assert np.abs(out - 0.5).max() < 0.05


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.integers(1, 30)] * 2), st.tuples(*[st.integers(1, 30)] * 2))
def test_masks_take_the_nearest_value_as_pillow_does_and_the_later_of_two(
    old: tuple[int, int], new: tuple[int, int]
) -> None:
    mask = np.random.default_rng(0).integers(0, 256, old, dtype=np.uint8)
    found = resize_mask(mask, new)
    pillow = np.asarray(Image.fromarray(mask).resize(new[::-1], Image.Resampling.NEAREST))
    # rounding errors decide in Pillow where a place lies on the border of two pixels
    rows, columns = (
        [(2 * at + 1) * before % (2 * after) == 0 for at in range(after)]
        for before, after in zip(old, new, strict=True)
    )
    clear = ~np.logical_or.outer(rows, columns)
    np.testing.assert_array_equal(found[clear], pillow[clear])
    places = [
        [math.floor(Fraction(2 * at + 1, 2) * before / after) for at in range(after)]
        for before, after in zip(old, new, strict=True)
    ]
    np.testing.assert_array_equal(found, mask[places[0]][:, places[1]])
    stack = np.stack([mask, mask[::-1]])
    np.testing.assert_array_equal(
        resize_mask(stack, (4, *new)), np.stack([found, resize_mask(mask[::-1], new)])[[0, 0, 1, 1]]
    )


@pytest.mark.parametrize("size", [(4, 7, 9), (6, 5, 4), (3, 20, 8), (12, 3, 3)])
def test_volumes_are_resized_alike_whatever_axis_comes_first(size: tuple[int, int, int]) -> None:
    """The filter is separable: Pillow resizes planes of the first two axes, then lines along the last."""
    volume = np.random.default_rng(0).random((6, 8, 10), dtype=np.float32)
    planes = [
        np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(size[1::-1], Image.Resampling.BILINEAR))
        for plane in np.moveaxis(volume, 2, 0)
    ]
    lines = np.ascontiguousarray(np.stack(planes, axis=2).reshape(-1, 10))
    whole = np.asarray(Image.fromarray(lines).resize((size[2], len(lines)), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(resize_image(volume, size), whole.reshape(size), atol=1e-6)


def test_gray_fills_channels_and_colour_becomes_luma() -> None:
    gray = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    out = apply_recipe(recipe(channels=3), gray)
    assert (out[0] == out[1]).all()
    assert (out[0] == out[2]).all()
    colour = np.zeros((8, 8, 3), np.uint8)
    colour[..., 1] = 255
    np.testing.assert_allclose(apply_recipe(recipe(), colour), 0.587, rtol=1e-6)
    np.testing.assert_array_equal(apply_recipe(recipe(channels=3), colour)[:, 0, 0], [0, 1, 0])


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from(["uint8", "uint16", "float32"]),
    st.booleans(),
    st.sampled_from([1, 3]),
    st.integers(0, 2**16),
)
def test_any_image_comes_out_in_shape_and_range(
    shape: tuple[int, int], dtype: str, colour: bool, channels: int, seed: int
) -> None:
    values = np.random.default_rng(seed).random((*shape, 3) if colour else shape)
    image = values.astype(np.float32) if dtype == "float32" else (values * np.iinfo(dtype).max).astype(dtype)
    out = apply_recipe(recipe((9, 14), channels), image)
    assert out.shape == (channels, 9, 14)
    assert out.dtype == np.float32
    assert out.min() >= 0
    assert out.max() <= 1


def test_recipe_is_plain_data_and_says_its_normalisation() -> None:
    made = recipe((10, 12), channels=3)
    assert made.size == (10, 12)
    assert made.channels == 3
    assert (made.normalise.mean, made.normalise.std) == ([0.5] * 3, [0.25] * 3)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), 2),
        (("steps", 0, "op"), "eval"),
        (("steps", 0, "rule"), "magic"),
        (("steps", 0, "extra"), 1),
        (("steps", 1, "size"), [0, 8]),
        (("steps", 1, "filter"), "nearest"),
        (("steps", 2, "count"), 4),
        (("steps", 3, "std"), [0.0]),
        (("steps", 3, "mean"), [0.5, 0.5]),
        (("steps", 3, "mean"), "0.5"),
        (("steps",), "none"),
    ],
)
def test_damaged_recipes_are_refused(path: tuple[Any, ...], value: Any) -> None:
    broken = recipe().to_json()
    place: Any = broken
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ArtifactError):
        parse(Recipe, broken, "expert.json")


def test_dark_16_bit_images_get_a_notice() -> None:
    assert "window" in (range_notice(recipe(), 4095) or "")
    assert range_notice(recipe(), 60000) is None
    assert range_notice(recipe(window=(0, 4095)), 4095) is None


def test_a_volume_at_a_spacing_keeps_its_extent_and_is_whole() -> None:
    steps = recipe((8, 8, 8), spacing=2, window=(0, 10))
    ramp = np.broadcast_to(np.arange(20, dtype=np.float32)[:, None, None] / 2, (20, 9, 13))
    out = apply_recipe(steps, ramp, spacing_mm=(1, 2, 0.5))
    assert out.shape == (1, 10, 9, 3)
    # two voxels of 1 mm become one of 2 mm, whose centre is between theirs; antialiasing is symmetric inside
    np.testing.assert_allclose(out[0, 1:-1, 4, 1], (ramp[2:-2:2, 0, 0] + ramp[3:-2:2, 0, 0]) / 20, rtol=1e-5)


@given(
    st.lists(st.integers(1, 400), min_size=3, max_size=3),
    st.lists(st.floats(0.2, 8), min_size=3, max_size=3),
    st.lists(st.floats(0.2, 8), min_size=3, max_size=3),
)
def test_resampling_keeps_the_extent_to_half_a_voxel(size: list[int], own: list[float], wanted: list[float]) -> None:
    found = resampled_size(size, own, wanted)
    for side, before, after, new in zip(size, own, wanted, found, strict=True):
        assert new >= 1
        assert abs(new * after - side * before) <= after / 2 * 1.000001 or new == 1


def test_a_spacing_is_needed_only_by_a_recipe_with_one() -> None:
    assert prepared_size(recipe((8, 9, 10)), (4, 4, 4), None) == (8, 9, 10)
    with pytest.raises(DataError, match=r"without a stated size of its voxels.*2 x 2 x 2 mm"):
        apply_recipe(recipe((8, 8, 8), spacing=2), np.zeros((4, 4, 4), np.uint8))


def test_a_stored_recipe_states_all_that_decides_a_mask() -> None:
    _, resample, window, *_ = recipe((8, 8, 8), spacing=2).to_json()["steps"]
    assert resample == {"op": "resample", "spacing": [2, 2, 2], "filter": "trilinear", "antialias": True}
    assert window == {"op": "window", "size": [8, 8, 8], "overlap": 0.25, "blend": "gaussian", "sigma": 0.125}
    assert recipe((8, 8, 8), spacing=2, window_overlap=0.5).window.overlap == 0.5  # type: ignore[union-attr]
