"""Against average precision computed anew, with the further group as cases of their own."""

from __future__ import annotations

import numpy as np
import pytest
from counted_ranking import counted_precision
from hypothesis import given, settings
from hypothesis import strategies as st

from lorkit.decompose.metrics.bootstrap import Resampling
from lorkit.decompose.metrics.paired_precision import (
    _Ranking,
    case_values,
    paired_precision,
    precision_rate,
    unseen_group,
)
from lorkit.decompose.metrics.ranking import average_precision

CASES = st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=16)


def weighted(positive_N: np.ndarray, score_N: np.ndarray, weight_RN: np.ndarray) -> np.ndarray:
    return average_precision(positive_N, score_N, Resampling(weight_RN, np.arange(len(score_N))))


@given(CASES, st.integers(0, 2**16))
@settings(max_examples=100, deadline=None)
def test_a_further_group_counts_as_its_cases_would(cases: list[tuple[bool, int]], seed: int) -> None:
    positive_N, score_N = (np.array(column) for column in zip(*cases, strict=True))
    if not positive_N.any():
        return
    weight_RN = np.random.default_rng(seed).exponential(size=(3, len(score_N)))
    further_R = np.array([0.0, 0.7, 2.0])
    found = _Ranking(positive_N, score_N.astype(float)).ends(weight_RN, further_R, (2.0, 3.0))
    np.testing.assert_allclose(found.value_R, weighted(positive_N, score_N, weight_RN))
    more_RN = np.concatenate([weight_RN, 2.0 * further_R[:, None], 3.0 * further_R[:, None]], axis=1)
    more_N = np.append(positive_N, [True, False])
    for ends_R, places in ((found.wrong_R, (-1, 9)), (found.right_R, (9, -1))):
        np.testing.assert_allclose(ends_R, weighted(more_N, np.append(score_N, places), more_RN))


@given(CASES)
@settings(max_examples=60, deadline=None)
def test_case_values_are_the_precision_and_its_derivatives(cases: list[tuple[bool, int]]) -> None:
    positive_N, score_N = (np.array(column) for column in zip(*cases, strict=True))
    value_N = case_values(positive_N, score_N.astype(float))
    count = len(score_N)
    if positive_N.all() or not positive_N.any():
        assert np.isnan(value_N).all()
        return
    point = weighted(positive_N, score_N, np.ones((1, count)))[0]
    assert value_N.mean() == pytest.approx(point)
    step = 1e-5
    up_N, down_N = (weighted(positive_N, score_N, np.ones(count) + sign * step * np.eye(count)) for sign in (1, -1))
    np.testing.assert_allclose(value_N, point + count * (up_N - down_N) / (2 * step), atol=1e-5)


def drawn(seed: int, groups: int = 300, loss: float = 0.5) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    group_N = np.repeat(np.arange(groups), 2)
    own_N1 = rng.random((2 * groups, 1)) < 0.2
    good_N1 = 2.0 * own_N1 + rng.normal(size=own_N1.shape)
    return own_N1, good_N1, good_N1 + loss * rng.normal(size=own_N1.shape), group_N


def test_a_drop_and_its_interval() -> None:
    own_N1, good_N1, bad_N1, group_N = drawn(0)
    found = paired_precision(own_N1, good_N1, bad_N1, group_N, seed=0)
    once = np.ones((1, len(own_N1)))
    one, two = (weighted(own_N1[:, 0], side[:, 0], once)[0] for side in (good_N1, bad_N1))
    assert (found.baseline, found.candidate, found.drop) == pytest.approx((one, two, one - two))
    assert found.ci[0] < found.drop < found.ci[1]
    assert (found.n, found.groups, found.mcnemar_p) == (600, 300, None)
    back = paired_precision(own_N1, bad_N1, good_N1, group_N, seed=0)
    assert back.ci == pytest.approx((-found.ci[1], -found.ci[0]))
    rate = precision_rate(own_N1, good_N1, group_N, seed=0)
    assert rate.ci[0] < rate.value < rate.ci[1]
    assert rate.value == pytest.approx(one)


def test_equal_models_have_no_drop_but_an_unseen_group() -> None:
    own_N1, good_N1, _, group_N = drawn(1)
    wide, narrow = (
        paired_precision(own_N1[:count], good_N1[:count], good_N1[:count], group_N[:count], seed=0)
        for count in (200, 600)
    )
    assert wide.drop == narrow.drop == 0.0
    assert wide.ci[1] > narrow.ci[1] > 0.0
    assert wide.ci[0] == pytest.approx(-wide.ci[1], rel=0.2)


def test_the_unseen_group_loses_its_positive_cases_and_puts_its_negative_ones_first() -> None:
    own_N1 = np.array([[True], [True], [False], [False]])
    found = unseen_group(own_N1, np.arange(4))
    # one more negative case before two positive ones; a positive one after all others would cost less
    assert found.share == pytest.approx(1 - (1 / 2 + 2 / 3) / 2)
    assert found.share > 1 - (1 + 1 + 3 / 5) / 3
    for groups in ([0, 1, 1, 2], [0, 1, 2, 2], [0, 0, 1, 1]):
        group_N = np.array(groups)
        worst = []
        for group in range(max(groups) + 1):
            more, false = (int((own_N1[group_N == group, 0] == kind).sum()) for kind in (True, False))
            order_N = [False] * false + [True, True, False, False] + [True] * more
            worst.append(1 - counted_precision(order_N, [-float(at) for at in range(len(order_N))]))
        assert unseen_group(own_N1, group_N).share == pytest.approx(max(worst))


def test_classes_without_both_kinds_are_left_out() -> None:
    own_N1, good_N1, bad_N1, group_N = drawn(2)
    two = paired_precision(
        np.hstack([own_N1, own_N1 & False]), np.hstack([good_N1] * 2), np.hstack([bad_N1] * 2), group_N, seed=0
    )
    assert two.drop == paired_precision(own_N1, good_N1, bad_N1, group_N, seed=0).drop
    none = paired_precision(own_N1 & False, good_N1, bad_N1, group_N, seed=0)
    assert np.isnan(none.drop)
    assert np.isnan(precision_rate(own_N1 & False, good_N1, group_N, seed=0).value)


def test_entities_of_unequal_size_rarely_pass_where_the_drop_is_the_allowed_one() -> None:
    """A few entities have their negative nodes before all others, which most samples of 150 entities do not show."""

    def sample(seed: int, groups: int) -> tuple[np.ndarray, ...]:
        rng = np.random.default_rng(seed)
        group_N = np.repeat(np.arange(groups), rng.geometric(0.25, groups))
        own_N = rng.random(len(group_N)) < np.where(rng.random(groups) < 0.2, 0.7, 0.05)[group_N]
        good_N = 2.0 * own_N + rng.normal(size=len(own_N))
        raised_N = (rng.random(groups) < 0.004)[group_N] & ~own_N
        return own_N[:, None], good_N[:, None], np.where(raised_N, 20.0, good_N)[:, None], group_N

    own_N1, *sides, _ = sample(0, 50_000)
    once = np.ones((1, len(own_N1)))
    one, two = (weighted(own_N1[:, 0], side[:, 0], once)[0] for side in sides)
    allowed = one - two
    assert 0.03 < allowed < 0.1
    passed = unseen = 0
    for seed in range(1, 41):
        found = paired_precision(*sample(seed, 150), seed=seed)
        passed += found.ci[1] < allowed
        unseen += found.drop <= 0.0
        assert found.uncertainty is not None
        assert found.uncertainty.unseen.effective == pytest.approx(1 / found.uncertainty.unseen.share)
    assert passed <= 2
    assert unseen > 10  # none at hand lost anything, and an interval of what is seen has no width
