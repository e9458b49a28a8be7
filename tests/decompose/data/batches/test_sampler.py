"""Shares, seats, shards and streams of the region sampler."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorkit.decompose.data.batches.sampler import RegionSampler, allocate_samples, region_shares
from lorkit.decompose.errors import UsageError

COUNTS = {"brain": 900, "chest": 400, "knee": 100}


def sampler(policy: str = "balanced", **settings_: int) -> RegionSampler:
    return RegionSampler(COUNTS, **{"batch_size": 32, "seed": 0, **settings_}, policy=policy)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("balanced", [1 / 3] * 3), ("sqrt", [30 / 60, 20 / 60, 10 / 60]), ("proportional", [9 / 14, 4 / 14, 1 / 14])],
)
def test_shares_hold_over_an_epoch(policy: str, expected: list[float]) -> None:
    np.testing.assert_allclose(region_shares(list(COUNTS.values()), policy), expected)
    drawn = sampler(policy).samples_per_batch.sum(axis=0)
    np.testing.assert_allclose(drawn / drawn.sum(), expected, atol=0.005)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 5000), min_size=1, max_size=8), st.integers(2, 70), st.sampled_from(["sqrt", "balanced"])
)
def test_seats_fill_the_batch_and_are_never_one(counts: list[int], batch_size: int, policy: str) -> None:
    seats = allocate_samples(region_shares(counts, policy), batch_size, 40)
    assert (seats.sum(axis=1) == batch_size).all()
    assert not (seats == 1).any()
    assert (seats >= 0).all()


def test_small_shares_wait_instead_of_vanishing() -> None:
    seats = allocate_samples(np.array([0.97, 0.03]), 16, 100)
    assert set(seats[:, 1]) == {0, 2}
    assert abs(seats[:, 1].sum() - 48) <= 2


def test_epochs_continue_the_stream_without_replacement() -> None:
    one = sampler("proportional")
    drawn = np.concatenate([batch["brain"].indices for epoch in range(3) for batch in one.epoch(epoch)])
    for start in range(0, 1800, 900):
        assert sorted(drawn[start : start + 900].tolist()) == list(range(900))
    assert drawn[:900].tolist() != drawn[900:1800].tolist()


def test_small_region_repeats_within_an_epoch_only_in_another_pass() -> None:
    batches = sampler("balanced").epoch(0)
    knee = [pair for batch in batches for pair in zip(*(values.tolist() for values in batch["knee"]), strict=True)]
    assert len(knee) > 400
    assert len(set(knee)) == len(knee)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 80), min_size=1, max_size=4),
    st.integers(2, 70),
    st.sampled_from(["sqrt", "balanced", "proportional"]),
    st.sampled_from([0.0, 0.5]),
)
def test_a_batch_with_more_samples_than_a_region_has_is_said(
    counts: list[int], batch_size: int, policy: str, share: float
) -> None:
    """Compared with the batches themselves: how often a labelled sample is in one at least."""
    named = {f"r{index}": count for index, count in enumerate(counts)}
    unlabelled = dict.fromkeys(list(named)[:1], 30)
    one = RegionSampler(named, batch_size=batch_size, policy=policy, seed=0, unlabelled=unlabelled, share=share)
    drawn = [
        (name, int((batch[name].indices < count).sum()))
        for batch in one.epoch(0)
        for name, count in named.items()
        if name in batch
    ]
    most = {name: max((taken for other, taken in drawn if other == name), default=0) for name in named}
    text = " ".join(one.notices())
    for name, count in named.items():
        said = f"{most[name]} of '{name}' from {count}, each up to {-(-most[name] // count)} times"
        assert (said in text) == (most[name] > count)
    assert bool(text) == any(most[name] > count for name, count in named.items())


def test_epoch_is_a_function_of_seed_and_epoch() -> None:
    def rows(one: RegionSampler, epoch: int) -> list[list[int]]:
        return [draw.indices.tolist() for batch in one.epoch(epoch) for draw in batch.values()]

    resumed = sampler()
    assert rows(sampler(), 5) == rows(resumed, 5)
    assert rows(resumed, 5) != rows(resumed, 6)
    assert rows(sampler(), 5) != rows(sampler(seed=1), 5)


def test_ranks_share_steps_and_seats_but_no_sample() -> None:
    ranks = [sampler("proportional", rank=rank, world_size=3) for rank in range(3)]
    assert len({rank.steps for rank in ranks}) == 1
    epochs = [rank.epoch(0) for rank in ranks]
    for batches in zip(*epochs, strict=True):
        assert len({tuple((name, len(draw.indices)) for name, draw in batch.items()) for batch in batches}) == 1
    brain = np.concatenate([batch["brain"].indices for epoch in epochs for batch in epoch])
    assert len(set(brain.tolist())) >= min(len(brain), 900) - 1


def test_two_ranks_of_half_a_batch_draw_what_one_rank_draws() -> None:
    counts = {"a": 640, "b": 640}
    one = RegionSampler(counts, batch_size=64, policy="balanced", seed=0).epoch(1)
    two = [
        RegionSampler(counts, batch_size=32, policy="balanced", seed=0, rank=rank, world_size=2).epoch(1)
        for rank in range(2)
    ]
    for whole, *halves in zip(one, *two, strict=True):
        for name in counts:
            joined = np.concatenate([half[name].indices for half in halves])
            assert joined.tolist() == whole[name].indices.tolist()


def test_adding_a_region_leaves_the_other_streams_alone() -> None:
    alone = RegionSampler({"a": 50}, batch_size=10, policy="balanced", seed=0).epoch(0)
    both = RegionSampler({"b": 50, "a": 50}, batch_size=20, policy="balanced", seed=0).epoch(0)
    assert alone[0]["a"].indices.tolist() == both[0]["a"].indices.tolist()


def test_unusable_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="batches of 1"):
        sampler(batch_size=1)
