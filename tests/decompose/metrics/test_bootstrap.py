from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorkit.decompose.errors import DataError
from lorkit.decompose.metrics.bootstrap import Resampling, check_scores, interval, mean_defined, resample, safe_divide


def test_every_replicate_draws_as_many_groups_as_there_are_and_seeds_decide() -> None:
    groups = ["p1", "p1", "p2", "p3"]
    first, again, other = (resample(groups, seed=seed, replicates=50) for seed in (1, 1, 2))
    assert (first.counts_RG.sum(1) == 3).all()
    np.testing.assert_array_equal(first.counts_RG, again.counts_RG)
    assert (first.counts_RG != other.counts_RG).any()
    np.testing.assert_array_equal(first.group_N, [0, 0, 1, 2])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=30), st.integers(0, 100))
def test_totals_equal_a_loop_over_repeated_cases(groups: list[int], seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(len(groups), 2))
    draws = resample(groups, seed=seed, replicates=4)
    for counts, total in zip(draws.counts_RG, draws.totals(values), strict=True):
        repeats = counts[draws.group_N].astype(int)
        np.testing.assert_allclose(total, np.repeat(values, repeats, axis=0).sum(0), atol=1e-12)


def test_the_interval_of_a_mean_has_its_textbook_width() -> None:
    values = np.random.default_rng(0).normal(size=400)
    draws = resample(np.arange(400), seed=0, replicates=4000)
    low, high = interval(draws.totals(values) / 400) or (0.0, 0.0)
    expected = 2 * 1.96 * values.std() / np.sqrt(400)
    assert high - low == pytest.approx(expected, rel=0.06)


def test_undefined_replicates_are_left_out_and_none_means_none() -> None:
    assert interval(np.array([np.nan, np.nan])) is None
    assert interval(np.array([np.nan, 1.0, 1.0])) == [1.0, 1.0]
    assert np.isnan(safe_divide(np.array([1.0]), np.array([0.0]))).all()
    assert mean_defined(np.array([[1.0, np.nan], [1.0, 3.0]])).tolist() == [1.0, 2.0]


def test_blocks_cover_every_replicate_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lorkit.decompose.metrics.bootstrap.CHUNK", 10)
    draws = Resampling(np.ones((7, 3)), np.array([0, 1, 2, 2, 1]))
    assert np.concatenate([np.arange(7)[block] for block in draws.blocks()]).tolist() == list(range(7))


@pytest.mark.parametrize(
    ("labels", "logits", "groups", "message"),
    [
        ([0, 1], [[0.0, 1.0]], [0, 1], r"labels \(2,\), logits \(1, 2\)"),
        ([0, 2], [[0.0, 1.0]] * 2, [0, 1], "labels from 0 to 2; required: 0 to 1"),
        ([0, 1], [[0.0, np.nan]] * 2, [0, 1], "NaN"),
        ([], np.zeros((0, 2)), [], "at least one"),
    ],
)
def test_what_cannot_be_scored_is_refused(labels: object, logits: object, groups: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_scores(labels, logits, groups)  # type: ignore[arg-type]
