"""Labelled and unlabelled rows of one region: what is gathered, and how their losses are weighed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lorkit.decompose.config import AugmentConfig, ImageConfig, RegionConfig
from lorkit.decompose.data.batches.loader import BatchLoader
from lorkit.decompose.data.batches.pool import SamplePool, label_weights
from lorkit.decompose.data.batches.sampler import RegionSampler, unlabelled_samples
from lorkit.decompose.data.prepared import PreparedRegion, join_prepared, prepare
from lorkit.decompose.data.preprocessing.recipe import Recipe, build_recipe
from lorkit.decompose.data.samples.samples import RegionSamples
from lorkit.decompose.regions import RegionSet

Make = Callable[..., RegionSamples]


def recipe() -> Recipe:
    return build_recipe(ImageConfig.model_validate({"size": 8, "channels": 3}), RegionConfig(data=("x",)))


@pytest.fixture
def pool(make: Make) -> SamplePool:
    """12 labelled gray images, and 20 unlabelled ones in colours."""
    colour = np.random.default_rng(1).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    others = prepare(make([0, 1] * 10, images=colour), recipe())
    labels = np.full_like(others.labels, -1)
    return SamplePool(labelled=prepare(make([0, 1] * 6), recipe()), unlabelled=replace(others, labels=labels))


def test_rows_are_those_of_their_part(pool: SamplePool) -> None:
    assert pool.unlabelled is not None
    rows = np.array([0, 13, 11, 12, 31])
    found = pool.images(rows)
    assert found.shape == (5, 3, 8, 8)
    np.testing.assert_array_equal(found[0], pool.labelled.images[0])
    np.testing.assert_array_equal(found[1], pool.unlabelled.images[1])
    np.testing.assert_array_equal(found[4], pool.unlabelled.images[19])
    assert pool.targets(rows).tolist() == [0, -1, 1, -1, -1]
    assert pool.digests[12] == pool.unlabelled.digests[0]
    assert pool.cached.digests == pool.digests


def test_masks_of_unlabelled_images_are_unknown(make: Make) -> None:
    one = prepare(make([0, 1, 0, 1]), recipe())
    masks = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8) % 2
    other = replace(one, labels=np.full(4, -1))
    target = SamplePool(labelled=replace(one, masks=masks), unlabelled=other).targets(np.array([1, 6]))
    np.testing.assert_array_equal(target[0].numpy(), masks[1])
    assert (target[1] == -1).all()


def test_joined_samples_keep_their_order(pool: SamplePool) -> None:
    assert pool.unlabelled is not None
    joined = join_prepared(replace(pool.labelled, labels=np.full(12, -1)), pool.unlabelled)
    assert joined.digests == pool.digests
    assert joined.stored.shape == (32, 3, 8, 8)
    np.testing.assert_array_equal(joined.images[31], pool.unlabelled.images[19])


@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=20))
def test_weights_keep_the_weight_of_a_region(labels: list[int]) -> None:
    weight = label_weights(torch.tensor(labels))
    known = [label >= 0 for label in labels]
    assert ((weight > 0) == torch.tensor(known)).all()
    if any(known):
        assert float(weight.sum()) == pytest.approx(len(labels))
        assert len(set(weight[torch.tensor(known)].tolist())) == 1


def test_a_row_with_one_known_label_is_labelled() -> None:
    assert (label_weights(torch.tensor([[-1, -1], [-1, 0], [1, 1]])) > 0).tolist() == [False, True, True]


@given(st.lists(st.integers(2, 40), min_size=30, max_size=60), st.floats(0.05, 0.9))
def test_the_share_holds_over_time_and_a_label_is_always_left(takes: list[int], share: float) -> None:
    found = unlabelled_samples(np.array(takes), share)
    assert (found <= np.array(takes) - 1).all()
    assert (found >= 0).all()
    if share <= 0.5:  # never limited by the one labelled sample
        assert abs(found.sum() - share * sum(takes)) < 1.001


def sampler(share: float, **settings: Any) -> RegionSampler:
    counts = {"chest": 40, "knee": 10}
    return RegionSampler(
        counts, batch_size=10, policy="sqrt", seed=0, unlabelled={"chest": 70}, share=share, **settings
    )


def drawn(one: RegionSampler, epochs: range) -> Iterator[int]:
    return (index for epoch in epochs for batch in one.epoch(epoch) for index in batch["chest"].indices.tolist())


def test_unlabelled_samples_change_neither_steps_nor_sizes_nor_other_regions() -> None:
    with_them, without = sampler(0.5), sampler(0.0)
    np.testing.assert_array_equal(with_them.samples_per_batch, without.samples_per_batch)
    for one, two in zip(with_them.epoch(3), without.epoch(3), strict=True):
        assert one["knee"].indices.tolist() == two["knee"].indices.tolist()
        assert len(one["chest"].indices) == len(two["chest"].indices)
    assert max(drawn(without, range(3))) < 40


def test_every_unlabelled_sample_is_drawn_once_a_pass() -> None:
    found = [index - 40 for index in drawn(sampler(0.5), range(20)) if index >= 40]
    assert sorted(found[:70]) == list(range(70))
    assert found[:70] != found[70:140]


def test_ranks_share_the_unlabelled_stream() -> None:
    ranks = [set(drawn(sampler(0.5, rank=rank, world_size=2), range(2))) for rank in range(2)]
    assert not {index for index in ranks[0] & ranks[1] if index >= 40}


def test_batches_hold_both_kinds_and_weigh_them(pool: SamplePool, make: Make) -> None:
    assert pool.unlabelled is not None
    knee = prepare(make([0, 1] * 6, name="knee", seed=5), recipe())
    prepared: dict[str, PreparedRegion] = {"r": pool.labelled, "knee": knee}
    regions = RegionSet([pool.labelled.region, knee.region])
    shared: dict[str, Any] = {"batch_size": 10, "sampling": "balanced", "seed": 0}
    shared |= {"unlabelled": {"r": pool.unlabelled}, "share": 0.6}
    plain = BatchLoader(prepared, regions, augment=None, **shared)
    for batch in plain:
        own = batch.region == 0
        assert batch.weight is not None
        assert batch.label[own].tolist().count(-1) == int(own.sum()) * 3 // 5
        assert (batch.weight[~own] == 1).all()
        assert float(batch.weight[own].sum()) == pytest.approx(int(own.sum()))
        assert ((batch.label >= 0) == (batch.weight > 0)).all()
        for row in torch.nonzero(own).flatten().tolist():
            np.testing.assert_array_equal(batch.image[row].numpy(), pool.images(batch.sample[[row]].numpy())[0])
    changed = BatchLoader(prepared, regions, augment=AugmentConfig(), **shared)
    assert all(torch.isfinite(batch.image).all() for batch in changed)
