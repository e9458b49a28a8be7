from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from lorkit.decompose.metrics import paired_difference, paired_drop
from lorkit.decompose.metrics.intervals import DropUncertainty, UnseenPatient, holm
from lorkit.decompose.metrics.paired import paired_means, unseen_bound


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


def test_the_effective_number_is_that_of_equal_patients() -> None:
    assert UnseenPatient(share=1 / 40, reach=1.0).effective == pytest.approx(40)
    assert UnseenPatient(share=0.0, reach=1.0).effective is None
    unseen = spread_of(300, 0.1).unseen
    assert unseen.effective == pytest.approx(300)  # all weigh the same


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


@pytest.mark.parametrize("images", [1, 5])
def test_hits_of_one_class_have_the_exact_binomial_interval(images: int) -> None:
    """With one class the drop is a share of patients, whose exact interval is that of Clopper and Pearson."""
    patients, lost = 60, 4
    hits = np.repeat(np.arange(patients) >= lost, images)
    groups = np.repeat(np.arange(patients), images)
    found = paired_difference(np.zeros(len(hits)), np.ones(len(hits)), hits, groups)
    assert found.uncertainty is not None
    for alpha in (0.05, 0.2):
        _, high = found.uncertainty.interval(alpha)
        assert high == pytest.approx(beta.ppf(1 - alpha / 2, lost + 1, patients - lost), rel=0.05)
    # the patient that gained everything is the lowest of the bound on the mean, not a zero
    weights = np.random.default_rng(1).dirichlet(np.ones(patients + 1), 20_000)
    gaffke = weights @ np.append(np.arange(patients) < lost, -1.0)
    assert found.ci[0] == pytest.approx(np.quantile(gaffke, 0.025), abs=0.005)


@pytest.mark.parametrize(("layout", "reach"), [("a class each", 0.25), ("all classes each", 1.0)])
def test_a_loss_that_no_patient_shows_has_the_probability_of_zero_events(layout: str, reach: float) -> None:
    patients, classes = 80, 4
    labels, groups = np.arange(patients) % classes, np.arange(patients)
    if layout == "all classes each":
        labels, groups = np.tile(np.arange(classes), patients), np.repeat(np.arange(patients), classes)
    hits = np.ones(len(labels))
    found = paired_difference(labels, hits, hits, groups)
    # who can show it: the patients of one class, or all of them; what it costs: one class of four, or everything
    expected = reach * (1 - 0.025 ** (1 / (patients * reach)))
    assert found.uncertainty is not None
    assert found.uncertainty.unseen.bound() == pytest.approx(expected)
    assert unseen_bound(labels[:, None] == np.arange(classes), groups) == pytest.approx(expected)
    assert found.ci == pytest.approx((-expected, expected), rel=0.1)


def test_the_patient_with_most_images_is_the_one_that_may_be_unseen() -> None:
    groups = np.append(np.arange(90), np.repeat(90, 10))
    hits = np.ones(100)
    unseen = paired_difference(np.zeros(100), hits, hits, groups).uncertainty
    assert unseen is not None
    assert (unseen.unseen.share, unseen.unseen.reach) == (0.1, 1.0)


def test_needed_cases_really_decide() -> None:
    labels, one, two = two_classifiers(120, 0.0)
    one[::12], two[1::12] = [0.5, 0.4], [0.5, 0.4]
    one[::12] = np.eye(2)[1 - labels[::12]]
    two[1::12] = np.eye(2)[1 - labels[1::12]]  # as many lost as won: nothing is lost, but the two differ
    found = paired_drop(labels, one, two, np.arange(120))
    assert found.uncertainty is not None
    needed = found.uncertainty.needed(0.03, 120)
    assert needed is not None
    assert needed > 120
    for factor, decided in ((1.15, True), (0.8, False)):
        times = round(factor * needed / 120)
        many = [np.tile(part, (times, 1)) for part in (one, two)]
        more = paired_drop(np.tile(labels, times), *many, np.arange(120 * times))
        assert (more.ci[1] < 0.03) == decided


def test_identical_models_need_what_could_stay_unseen() -> None:
    spread = spread_of(40, 0.0)
    needed = spread.needed(0.02, 40)
    assert needed is not None
    assert needed == pytest.approx(2 * math.log(0.025) / math.log(1 - 0.04), rel=0.01)
    assert spread.needed(0.0, 40) is None, "no number of cases shows that nothing at all is lost"
    assert spread.needed(0.6, 40) is not None
    assert spread.needed(0.6, 40) <= 40


@given(st.integers(20, 300), st.floats(0.0, 0.4), st.floats(0.0, 0.5))
def test_undecided_cases_need_more_than_there_are_and_decided_ones_do_not(n: int, lost: float, allowed: float) -> None:
    spread = spread_of(n, lost)
    low, high = spread.interval()
    needed = spread.needed(allowed, n)
    if low <= allowed <= high:
        assert needed is None or needed > n
    else:
        assert needed is not None
        assert needed <= n


def test_one_patient_decides_nothing() -> None:
    rng = np.random.default_rng(0)
    one = rng.uniform(0.6, 0.9, (40, 2))
    spread = paired_means(one, one - 0.3, np.zeros(40), allowed=0.1).uncertainty
    assert spread is not None
    worse, within = spread.p_values(0.1)
    assert min(worse, within) > 0.05


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
