"""Against every threshold between two cases, tried one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from lorkit.decompose.metrics.thresholds import Policy, choose_threshold, policy_name

CASES = st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), min_size=2, max_size=14)


def counts(positive_N: np.ndarray, said_N: np.ndarray) -> tuple[int, int, int]:
    """Found, missed and falsely said."""
    return int((said_N & positive_N).sum()), int((~said_N & positive_N).sum()), int((said_N & ~positive_N).sum())


def value(policy: Policy, positive_N: np.ndarray, said_N: np.ndarray) -> float:
    found, missed, false = counts(positive_N, said_N)
    if policy == "youden":
        return found / positive_N.sum() - false / (~positive_N).sum()
    if policy == "f1":
        return 2 * found / (2 * found + missed + false)
    return -(dict(policy)["cost"] * missed + false)  # type: ignore[call-overload]


@pytest.mark.parametrize("policy", ["youden", "f1", {"cost": 20.0}, {"cost": 0.1}])
@given(CASES)
@settings(max_examples=60, deadline=None)
def test_no_other_threshold_is_better_and_equal_ones_are_lower(policy: Policy, cases: list[tuple[bool, int]]) -> None:
    positive_N, logit_N = (np.array(column) for column in zip(*cases, strict=True))
    if positive_N.all() or not positive_N.any():
        assert choose_threshold(positive_N, logit_N, policy).threshold is None
        return
    limit = choose_threshold(positive_N, logit_N, policy).threshold
    assert limit is not None
    share_N = expit(logit_N)
    best = value(policy, positive_N, share_N >= limit)
    tried = expit(np.arange(-5, 6) - 0.5)
    for other in tried:
        at_other = value(policy, positive_N, share_N >= other)
        assert at_other <= best + 1e-12
        if at_other == pytest.approx(best):  # of equal ones the highest that changes an answer
            assert (share_N >= other).sum() >= (share_N >= limit).sum()
    assert abs(share_N - limit).min() > 1e-3  # between two cases, so that rounding flips none


@given(CASES, st.sampled_from([0.5, 2 / 3, 0.9, 1.0]))
@settings(max_examples=100, deadline=None)
def test_a_precision_finds_the_most_that_have_it(cases: list[tuple[bool, int]], least: float) -> None:
    positive_N, logit_N = (np.array(column) for column in zip(*cases, strict=True))
    chosen = choose_threshold(positive_N, logit_N, {"precision": least})
    if positive_N.all() or not positive_N.any():
        assert chosen.threshold is None
        return
    reached = []
    for limit in np.arange(-5, 6) - 0.5:
        found, _, false = counts(positive_N, logit_N >= limit)
        if found + false and found / (found + false) >= least:
            reached.append(found)
    if not reached:
        assert chosen.threshold is None
        assert chosen.reason is not None
        assert chosen.reason.startswith(f"no threshold has a precision of {least:g} on validation (highest 0.")
        return
    assert chosen.threshold is not None
    found, _, false = counts(positive_N, expit(logit_N) >= chosen.threshold)
    assert found == max(reached)
    assert found / (found + false) >= least


def test_thresholds_by_hand() -> None:
    positive_N, logit_N = np.array([1, 0, 1, 0, 0], bool), np.array([3.0, 2.0, 1.0, 0.0, -1.0])

    def chosen(policy: Policy) -> float:
        limit = choose_threshold(positive_N, logit_N, policy).threshold
        assert limit is not None
        return float(np.log(limit / (1 - limit)))

    assert chosen("f1") == pytest.approx(0.5)  # two found, one false: 0.8
    assert chosen({"precision": 0.6}) == pytest.approx(0.5)
    assert chosen({"precision": 0.9}) == pytest.approx(2.5)
    assert chosen({"cost": 20}) == pytest.approx(0.5)
    assert chosen({"cost": 0.5}) == pytest.approx(2.5)
    assert choose_threshold(positive_N, logit_N, 0.3).threshold == 0.3
    assert choose_threshold(~positive_N, logit_N, {"cost": 0.1}).threshold == pytest.approx(expit(4.0))  # none is said


def test_saturated_logits_keep_a_threshold_inside_of_zero_and_one() -> None:
    for sign in (1, -1):
        limit = choose_threshold(np.array([True, False]), sign * np.array([900.0, 800.0]), "f1").threshold
        assert limit is not None
        assert 0.0 < limit < 1.0


def test_policies_have_names() -> None:
    assert [policy_name(one) for one in ("f1", 0.25, {"precision": 0.9}, {"cost": 20.0})] == [
        "f1", "0.25", "precision 0.9", "cost 20",
    ]  # fmt: skip
