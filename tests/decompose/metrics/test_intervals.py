from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorkit.decompose.metrics import paired_drop
from lorkit.decompose.metrics.intervals import DropUncertainty, holm, zero_event_bound
from lorkit.decompose.metrics.paired import paired_means


def two_classifiers(n: int, lost: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    worse = rng.random(n) < lost
    return labels, np.eye(2)[labels], np.where(worse[:, None], np.eye(2)[1 - labels], np.eye(2)[labels])


def spread_of(n: int, lost: float) -> DropUncertainty:
    labels, one, two = two_classifiers(n, lost)
    found = paired_drop(labels, one, two, np.arange(n)).uncertainty
    assert found is not None
    return found


def test_a_p_value_is_the_error_at_which_the_interval_touches_the_allowed_drop() -> None:
    spread = spread_of(300, 0.1)
    for allowed in (0.05, 0.08):
        worse, _ = spread.p_values(allowed)
        assert spread.interval(min(1.0, 1.01 * worse))[0] > allowed
        assert worse <= 2 / 2001 + 1e-9 or spread.interval(0.99 * worse)[0] <= allowed
    _, within = spread.p_values(0.15)
    assert spread.interval(min(1.0, 1.01 * within))[1] < 0.15


@given(st.integers(20, 300), st.floats(0.0, 0.4), st.floats(0.0, 0.5))
def test_the_p_values_and_the_interval_decide_alike(n: int, lost: float, allowed: float) -> None:
    spread = spread_of(n, lost)
    low, high = spread.interval()
    worse, within = spread.p_values(allowed)
    if abs(low - allowed) > 1e-3:
        assert (worse <= 0.05) == (low > allowed)
    if abs(high - allowed) > 1e-3:
        assert (within <= 0.05) == (high < allowed)


def test_needed_cases_really_decide() -> None:
    labels, one, two = two_classifiers(120, 0.0)
    rng = np.random.default_rng(1)
    swap = rng.random(120) < 0.2  # as many lost as won: nothing is lost, but the two differ
    one[swap & (rng.random(120) < 0.5)] = [0.5, 0.4]
    found = paired_drop(labels, one, two, np.arange(120))
    assert found.uncertainty is not None
    needed = found.uncertainty.needed(0.03, 120)
    assert needed is not None
    assert needed > 120
    times = -(-needed // 120)
    labels, one, two = np.tile(labels, times), np.tile(one, (times, 1)), np.tile(two, (times, 1))
    more = paired_drop(labels, one, two, np.arange(len(labels)))
    assert more.decidable == pytest.approx(0.03, rel=0.2)


def test_identical_models_need_what_could_stay_unseen() -> None:
    spread = spread_of(40, 0.0)
    needed = spread.needed(0.02, 40)
    assert needed is not None
    assert zero_event_bound(needed // 2, 0.5) == pytest.approx(0.02, abs=2e-4)
    assert zero_event_bound(needed // 2 - 2, 0.5) > 0.02
    assert spread.needed(0.0, 40) is None
    assert spread.needed(0.6, 40) == 1


def test_one_patient_decides_nothing_and_no_number_of_cases_helps() -> None:
    rng = np.random.default_rng(0)
    one = rng.uniform(0.6, 0.9, (40, 2))
    spread = paired_means(one, one - 0.3, np.zeros(40)).uncertainty
    assert spread is not None
    assert spread.p_values(0.1) == (1.0, 1.0)
    assert spread.needed(0.1, 40) is None


def test_holm_of_a_textbook_family() -> None:
    # by hand: sorted 0.005 * 4, 0.01 * 3, 0.03 * 2, 0.04 * 1 -> 0.02, 0.03, 0.06, then no smaller than that
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12))
def test_holm_is_between_the_raw_values_and_bonferroni(values: list[float]) -> None:
    adjusted = holm(values)
    for raw, found in zip(values, adjusted, strict=True):
        assert raw <= found <= min(1.0, raw * len(values)) + 1e-12
    assert min(adjusted) == pytest.approx(min(1.0, min(values) * len(values)))
