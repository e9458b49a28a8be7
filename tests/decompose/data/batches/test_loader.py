"""The loader's promises: sorted regions, two of each, exact repetition, honest samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lorkit.decompose.config import AugmentConfig, ImageConfig, RegionAugment, RegionConfig
from lorkit.decompose.data.batches.loader import BatchLoader, eval_batches
from lorkit.decompose.data.prepared import PreparedRegion, prepare
from lorkit.decompose.data.preprocessing.recipe import Recipe, build_recipe
from lorkit.decompose.data.samples.samples import RegionSamples
from lorkit.decompose.regions import Region, RegionSet

Make = Callable[..., RegionSamples]
ORDER = ("knee", "blood", "chest")


def recipe(size: int = 8) -> Recipe:
    image = ImageConfig.model_validate({"size": size, "channels": 3})
    return build_recipe(image, RegionConfig(data=("x",)))


@pytest.fixture
def prepared(make: Make) -> dict[str, PreparedRegion]:
    colour = np.random.default_rng(1).integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
    return {
        "chest": prepare(make([0, 1] * 40, name="chest"), recipe()),
        "blood": prepare(make([0, 1] * 15, name="blood", images=colour), recipe()),
        "knee": prepare(make([0, 1] * 5, name="knee"), recipe()),
    }


def loader(prepared: dict[str, PreparedRegion], **settings: Any) -> BatchLoader:
    regions = RegionSet(prepared[name].region for name in ORDER)
    defaults: dict[str, Any] = {"batch_size": 12, "sampling": "sqrt", "seed": 0, "augment": None}
    return BatchLoader(prepared, regions, **{**defaults, **settings})


def test_batches_are_sorted_by_region_and_true_to_their_samples(prepared: dict[str, PreparedRegion]) -> None:
    one = loader(prepared)
    batches = list(one)
    assert len(batches) == len(one) == 10
    for batch in batches:
        assert batch.image.shape == (12, 3, 8, 8)
        assert batch.image.dtype == torch.float32
        assert batch.image.is_contiguous()
        assert torch.equal(batch.region, batch.region.sort().values)
        assert batch.region.unique(return_counts=True)[1].min() >= 2
        for row in range(12):
            source = prepared[ORDER[int(batch.region[row])]]
            index = int(batch.sample[row])
            np.testing.assert_array_equal(batch.image[row].numpy(), source.images[index])
            assert int(batch.label[row]) == source.labels[index]


def test_a_resumed_loader_repeats_the_epoch_exactly(prepared: dict[str, PreparedRegion]) -> None:
    first, resumed = loader(prepared, augment=AugmentConfig()), loader(prepared, augment=AugmentConfig())
    for epoch in range(3):
        first.set_epoch(epoch)
        last = list(first)
    resumed.set_epoch(2)
    for one, two in zip(last, resumed, strict=True):
        assert (one.teacher_image, one.view) == (two.teacher_image, two.view) == (None, None)
        assert all(torch.equal(a, b) for a, b in zip(one[:4], two[:4], strict=True))


def test_augmentation_differs_between_epochs_but_not_between_batch_sizes(prepared: dict[str, PreparedRegion]) -> None:
    def pictures(epoch: int, batch_size: int) -> dict[tuple[int, int], torch.Tensor]:
        one = loader(prepared, augment=AugmentConfig(), batch_size=batch_size, sampling="proportional")
        one.set_epoch(epoch)
        rows: dict[tuple[int, int], torch.Tensor] = {}
        for batch in one:
            for image, region, sample in zip(batch.image, batch.region, batch.sample, strict=True):
                rows.setdefault((int(region), int(sample)), image)
        return rows

    small, large, later = pictures(0, 12), pictures(0, 24), pictures(1, 12)
    shared = small.keys() & large.keys()
    assert len(shared) > 80
    for key in shared:
        torch.testing.assert_close(small[key], large[key], atol=1e-6, rtol=0)
    assert any(not torch.equal(small[key], later[key]) for key in small.keys() & later.keys())


def test_speed_is_measured(prepared: dict[str, PreparedRegion]) -> None:
    one = loader(prepared)
    assert one.images_per_second == 0
    list(one)
    assert one.images_per_second > 0


def test_evaluation_goes_through_all_in_order(
    prepared: dict[str, PreparedRegion], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "lorkit.decompose.data.batches.evaluation_size._PIXELS", 32 * prepared["chest"].images[0, 0].size
    )
    batches = list(eval_batches(prepared["chest"]))
    assert [len(label) for _, label in batches] == [32, 32, 16]
    image = torch.cat([image for image, _ in batches])
    np.testing.assert_array_equal(image.numpy(), prepared["chest"].images)
    assert torch.cat([label for _, label in batches]).tolist() == [0, 1] * 40


def test_a_region_has_its_own_augmentation(prepared: dict[str, PreparedRegion]) -> None:
    own = {
        "chest": replace(prepared["chest"], augment=False),
        "blood": replace(prepared["blood"], augment=RegionAugment(flip=False)),
        "knee": prepared["knee"],
    }
    flips = AugmentConfig(flip=True, share=0, shift=0, rotate=0, scale=0, intensity=0)
    changed = set()
    for batch, plain in zip(loader(own, augment=flips), loader(own), strict=True):
        for image, original, region in zip(batch.image, plain.image, batch.region, strict=True):
            name = ORDER[int(region)]
            assert torch.equal(image, original) or torch.equal(image, original.flip(-1))
            if not torch.equal(image, original):
                changed.add(name)
    assert changed == {"knee"}
    together, alone = loader(prepared, augment=AugmentConfig()), loader(own, augment=AugmentConfig())
    for one, two in zip(together, alone, strict=True):
        rows = one.region == 0  # of the region that states nothing
        assert torch.equal(one.image[rows], two.image[rows])


def test_masks_follow_the_images_of_their_region(make: Make) -> None:
    """A mask that is the image itself stays the image, whatever each region states."""
    pixels = np.random.default_rng(0).integers(0, 2, (20, 8, 8), dtype=np.uint8)
    parts = {
        name: replace(
            prepare(make([0, 1] * 10, name=name, images=pixels * np.uint8(255)), recipe()),
            masks=pixels,
            augment=augment,
        )
        for name, augment in (("knee", None), ("blood", RegionAugment(flip=False)), ("chest", False))
    }
    flips = AugmentConfig(flip=True, share=0, shift=0, rotate=0, scale=0, intensity=0)
    for batch in loader(parts, augment=flips):
        torch.testing.assert_close(batch.image[:, 0], batch.label.float())


def test_regions_of_classes_and_of_labels_share_batches(prepared: dict[str, PreparedRegion]) -> None:
    plain = prepared["knee"].take(range(10))
    table = np.stack([np.arange(10) % 2, np.arange(10) // 2 % 2, np.full(10, -1)], axis=1)
    region = Region(name="b", task="multilabel", classes=("p", "q", "r"))
    mixed = {"knee": plain, "b": replace(plain, region=region, labels=table)}
    regions = RegionSet([plain.region, region])
    batches = BatchLoader(mixed, regions, batch_size=8, sampling="balanced", seed=0, augment=AugmentConfig())
    for batch in batches:
        assert batch.label.shape == (8, 3)
        for region_index, sample, label in zip(batch.region, batch.sample, batch.label, strict=True):
            own = [int(plain.labels[sample]), -1, -1] if region_index == 0 else table[sample].tolist()
            assert label.tolist() == own


@pytest.mark.parametrize("views", [None, 2])
def test_the_teacher_has_the_same_samples_with_the_same_changes(make: Make, views: int | None) -> None:
    """The teacher's images are the student's at twice the size, so nearest pixels stay equal when mirrored."""
    own = {name: prepare(make([0, 1] * 10, name=name, seed=seed), recipe()) for seed, name in enumerate(ORDER)}
    seen = {
        name: replace(one, recipe=recipe(16), stored=one.stored.repeat(2, axis=2).repeat(2, axis=3))
        for name, one in own.items()
    }
    flips = AugmentConfig(flip=True, share=0, shift=0, rotate=0, scale=0, intensity=0.3, views=views)
    mirrored = 0
    for batch, plain in zip(loader(own, augment=flips, teacher=seen), loader(own), strict=True):
        assert batch.teacher_image is not None
        assert batch.image_for_teacher is batch.teacher_image
        assert batch.teacher_image.shape == (12, 3, 16, 16)
        torch.testing.assert_close(batch.teacher_image[:, :, ::2, 1::2], batch.image)
        mirrored += sum(
            not torch.equal(one.argsort(), two.argsort())
            for one, two in zip(batch.image[:, 0, 0], plain.image[:, 0, 0], strict=True)
        )
        assert plain.image_for_teacher is plain.image
    assert mirrored > 5
