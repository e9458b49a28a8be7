"""Whole cases at a spacing: resampled once, kept in files, and cut into windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lorkit.decompose.artifacts.arrays import IGNORED
from lorkit.decompose.config import ImageConfig, RegionConfig
from lorkit.decompose.data import volumes as module
from lorkit.decompose.data.batches.loader import BatchLoader
from lorkit.decompose.data.prepared import PreparedRegion, prepare
from lorkit.decompose.data.preprocessing.recipe import Recipe, apply_recipe, build_recipe, resize_mask
from lorkit.decompose.data.random_numbers import keys
from lorkit.decompose.data.samples.originals import check_spacing
from lorkit.decompose.data.samples.samples import RegionSamples, check_samples, volumes_of
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.regions import RegionSet

SIDES = ((12, 10, 9), (6, 20, 12), (16, 16, 16))
SPACINGS = ((1.0, 2.0, 1.0), (2.0, 1.0, 1.0), (1.0, 1.0, 1.0))
CONFIG = RegionConfig(data=("x",), spacing=2, structures=("big", "small"))
Make = Callable[..., RegionSamples]


def recipe(side: int = 8, **region: Any) -> Recipe:
    image = ImageConfig.model_validate({"size": (side,) * 3, "channels": 1})
    return build_recipe(image, CONFIG.model_copy(update=region))


@pytest.fixture
def samples(tmp_path: Path) -> RegionSamples:
    """Three cases with a large structure at the start of each axis, and one voxel of a small one near the end."""
    rng = np.random.default_rng(0)
    images = [rng.integers(1, 256, sides, dtype=np.uint8) for sides in SIDES]
    masks = [np.zeros(sides, dtype=np.uint8) for sides in SIDES]
    for mask in masks:
        mask[:4, :4, :4] = 1
        mask[-2:, -2:, -2:] = 2
    ids = tuple(f"s{index}" for index in range(len(SIDES)))
    source = Source(
        images=images, labels=np.zeros(3, dtype=np.int64), classes=("big", "small"), ids=ids, groups=ids,
        parts=(None,) * 3, origin="memory", masks=masks, spacings=SPACINGS,
    )  # fmt: skip
    return replace(check_samples("r", CONFIG, source, dims=3), store=tmp_path / "volumes")


@pytest.fixture
def prepared(samples: RegionSamples) -> PreparedRegion:
    return prepare(samples, recipe())


def test_a_case_is_the_recipe_applied_to_it_and_its_mask_lies_on_the_same_grid(
    samples: RegionSamples, prepared: PreparedRegion
) -> None:
    assert prepared.volumes is not None
    for index, (sides, spacing) in enumerate(zip(SIDES, SPACINGS, strict=True)):
        case = prepared.volumes[index]
        expected = tuple(round(side * one / 2) for side, one in zip(sides, spacing, strict=True))
        assert case.image.shape == (1, *expected)
        np.testing.assert_array_equal(case.image, apply_recipe(recipe(), samples.images[index], spacing))
        assert case.mask is not None
        assert samples.masks is not None
        np.testing.assert_array_equal(case.mask, resize_mask(samples.masks[index], expected))
        for structure, *voxel in case.places.tolist():
            assert case.mask[tuple(voxel)] == structure + 1


def test_one_window_of_each_case_has_the_size_of_the_network_input(prepared: PreparedRegion) -> None:
    assert prepared.images.shape == (3, 1, 8, 8, 8)
    assert prepared.masks is not None
    assert prepared.masks.shape == (3, 8, 8, 8)
    outside = prepared.masks[1] == IGNORED  # its first axis has 6 voxels, padded by one at each end
    np.testing.assert_array_equal(outside.all((1, 2)), [True] + [False] * 6 + [True])
    assert not prepared.images[1, 0][outside].any()


def test_windows_are_drawn_around_structures_as_often_as_asked(prepared: PreparedRegion) -> None:
    assert prepared.volumes is not None
    volumes = replace(prepared.volumes, window=prepared.volumes.window.model_copy(update={"size": [2, 2, 2]}))
    rows = np.full(600, 2)
    drawn = keys(0, np.arange(600))
    for share in (0.0, 0.5, 1.0):
        masks = volumes.masks(rows, volumes.starts(rows, drawn, share))
        small, big = ((masks == structure).any((1, 2, 3)).mean() for structure in (2, 1))
        # anywhere: 1 of 7^3 windows has the small structure, and 8 of 343 the big one
        assert small == pytest.approx(share / 2, abs=0.07)
        assert big == pytest.approx(share / 2 + (1 - share) * 8 / 343, abs=0.07)


def test_image_and_mask_of_a_window_are_of_the_same_place(prepared: PreparedRegion, samples: RegionSamples) -> None:
    assert prepared.volumes is not None
    rows = np.array([0, 2, 1, 0])
    starts = prepared.volumes.starts(rows, keys(3, np.arange(4)), 0.5)
    images, masks = prepared.volumes.images(rows, starts), prepared.volumes.masks(rows, starts)
    for row, start, image, mask in zip(rows, starts, images, masks, strict=True):
        case = prepared.volumes[row]
        assert case.mask is not None
        padded = np.full((8, 8, 8), IGNORED, np.uint8)
        grid = np.array(case.mask.shape)
        before = (np.maximum(grid, 8) - grid) // 2
        for place in np.ndindex(8, 8, 8):
            voxel = np.array(place) + start - before
            if (voxel >= 0).all() and (voxel < grid).all():
                padded[place] = case.mask[tuple(voxel)]
                assert image[0][place] == case.image[0][tuple(voxel)]
        np.testing.assert_array_equal(mask, padded)


def test_starts_stay_inside_the_padded_case(prepared: PreparedRegion) -> None:
    assert prepared.volumes is not None
    rows = np.arange(300) % 3
    for row, start in zip(rows, prepared.volumes.starts(rows, keys(1, np.arange(300)), 0.5), strict=True):
        most = np.maximum(prepared.volumes[row].image.shape[1:], 8) - 8
        assert (np.array(start) >= 0).all()
        assert (np.array(start) <= most).all()


def test_kept_cases_are_opened_and_other_settings_make_others(
    samples: RegionSamples, prepared: PreparedRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    keep = module._keep
    monkeypatch.setattr(module, "_keep", lambda *given: (made.append(given[1]), keep(*given)))
    again = prepare(samples, recipe(side=16))  # windows are cut from the same cases
    assert made == []
    assert again.volumes is not None
    np.testing.assert_array_equal(again.volumes[0].image, prepared.volumes[0].image)  # type: ignore[index]
    prepare(samples, recipe(spacing=(1.0, 1.0, 1.0)))
    prepare(samples, recipe(window=(0, 100)))
    prepare(replace(samples, spacings=((1.0, 1.0, 1.0), *SPACINGS[1:])), recipe())
    assert made == [0, 1, 2, 0, 1, 2, 0]


def test_a_damaged_case_is_made_again(samples: RegionSamples, prepared: PreparedRegion) -> None:
    assert prepared.volumes is not None
    before = np.array(prepared.volumes[0].image)
    path = prepared.volumes.folders[0] / "image.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 255
    path.write_bytes(bytes(data))
    found = prepare(samples, recipe()).volumes
    assert found is not None
    np.testing.assert_array_equal(found[0].image, before)


def test_without_a_store_cases_live_as_long_as_they_are_used(samples: RegionSamples) -> None:
    found = prepare(replace(samples, store=None), recipe()).volumes
    assert found is not None
    folder = found.folders[0].parent
    assert folder.is_dir()
    del found
    assert not folder.exists()


def test_a_case_without_a_spacing_is_named(samples: RegionSamples) -> None:
    with pytest.raises(DataError, match="sample 's1' of region 'r': a volume without a stated size"):
        prepare(replace(samples, spacings=(SPACINGS[0], None, SPACINGS[2])), recipe())


def test_nothing_and_some_of_it(samples: RegionSamples, prepared: PreparedRegion) -> None:
    assert len(prepare(samples, recipe(), indices=[])) == 0
    taken = prepared.take([2, 0])
    assert taken.volumes is not None
    np.testing.assert_array_equal(taken.volumes[0].image, prepared.volumes[2].image)  # type: ignore[index]
    assert taken.overviews.shape == (2, 1, 32, 32, 32)


def test_cases_lie_beside_the_runs() -> None:
    assert volumes_of(Path("here/runs")) == Path("here/foundations/volumes")


def test_a_batch_has_windows_of_cases_with_their_masks(prepared: PreparedRegion) -> None:
    regions = RegionSet([prepared.region])
    shared: dict[str, Any] = {"batch_size": 6, "sampling": "balanced", "seed": 0}
    marked = replace(prepared, volumes=_Traced(prepared.volumes))
    batches = [list(BatchLoader({"r": marked}, regions, augment=None, **shared)) for _ in range(2)]
    for batch, again in zip(*batches, strict=True):
        assert batch.image.shape == (6, 1, 8, 8, 8)
        assert batch.label.shape == (6, 8, 8, 8)
        # the traced images hold their own masks: structures and places outside agree
        assert torch.equal(batch.image[:, 0].long(), torch.where(batch.label == IGNORED, 0, batch.label))
        assert torch.equal(batch.image, again.image)
    seen = {tuple(image.flatten().tolist()) for batch in batches[0] for image in batch.image}
    assert len(seen) > 3  # other windows in every pass


class _Traced:
    """Cases whose images are their masks."""

    def __init__(self, volumes: Any) -> None:
        self._volumes = volumes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._volumes, name)

    def images(self, rows: Any, starts: Any) -> Any:
        masks = self._volumes.masks(rows, starts)
        return np.where(masks == IGNORED, 0, masks)[:, None].astype(np.float32)


def test_a_spacing_without_masks_is_refused(samples: RegionSamples) -> None:
    check_spacing(samples.region, (1, 1, 1))
    with pytest.raises(UsageError, match="'r' of task classification states spacing"):
        check_spacing(replace(samples.region, task="classification"), (1, 1, 1))
