"""Preparation: shapes, gray storage, mapping, and errors that name the sample."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lorkit.decompose.config import ImageConfig, RegionConfig
from lorkit.decompose.data.prepared import prepare
from lorkit.decompose.data.preprocessing.recipe import Recipe, apply_recipe, build_recipe
from lorkit.decompose.data.samples.samples import RegionSamples
from lorkit.decompose.errors import DataError

Make = Callable[..., RegionSamples]


def recipe(channels: int = 3) -> Recipe:
    image = ImageConfig.model_validate({"size": (8, 10), "channels": channels})
    return build_recipe(image, RegionConfig(data=("x",)))


def test_images_equal_the_recipe_applied_one_by_one(make: Make) -> None:
    samples = make([0, 1, 0, 1])
    prepared = prepare(samples, recipe(), indices=[3, 1])
    assert prepared.images.shape == (2, 3, 8, 10)
    assert prepared.stored.shape == (2, 1, 8, 10)
    assert prepared.ids == ("s3", "s1")
    assert prepared.labels.tolist() == [1, 1]
    assert prepared.digests[0] == samples.digests[3]
    for row, index in enumerate((3, 1)):
        np.testing.assert_array_equal(prepared.images[row], apply_recipe(recipe(), samples.images[index]))


def test_one_colour_image_makes_all_planes_stored(make: Make) -> None:
    images = [np.full((5, 6), 10, np.uint8), np.full((9, 4, 3), 20, np.uint8)]
    prepared = prepare(make([0, 1], images=images), recipe())
    assert prepared.stored.shape == (2, 3, 8, 10)
    np.testing.assert_allclose(prepared.images[0], 10 / 255, rtol=1e-6)


def test_large_sets_are_mapped_with_the_same_values(make: Make) -> None:
    samples = make([0, 1, 0])
    mapped = prepare(samples, recipe(), memory_bytes=16)
    assert isinstance(mapped.stored, np.memmap)
    np.testing.assert_array_equal(mapped.images, prepare(samples, recipe()).images)


def test_take_keeps_everything_in_step(make: Make) -> None:
    taken = prepare(make([0, 1, 0], groups=["p", "q", "r"]), recipe()).take([2, 0])
    assert len(taken) == 2
    assert taken.groups == ("r", "p")
    assert taken.labels.tolist() == [0, 0]


def test_nothing_prepared_is_no_error(make: Make) -> None:
    assert len(prepare(make([0, 1]), recipe(), indices=[])) == 0


def test_unusable_pixels_name_the_sample(make: Make) -> None:
    images = np.zeros((2, 4, 4), np.float32)
    images[1, 2, 2] = np.nan
    with pytest.raises(DataError, match="sample 's1' of region 'r': image with NaN"):
        prepare(make([0, 1], images=images), recipe())


def test_dark_16_bit_images_are_noticed(make: Make) -> None:
    images = np.full((2, 4, 4), 4095, np.uint16)
    images[0] -= 1
    assert "4095 of 65535" in prepare(make([0, 1], images=images), recipe()).notices[0]
    assert prepare(make([0, 1]), recipe()).notices == ()
