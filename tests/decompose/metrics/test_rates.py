"""Intervals of one model's rate, wide where few patients were seen."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from lorkit.decompose.metrics.rates import mean_of_independent, mean_rate


def test_needed_patients_follow_the_square_root_and_are_never_fewer_than_those_at_hand() -> None:
    hits = np.tile([1.0, 1.0, 1.0, 0.0], 25)[:, None]
    rate = mean_rate(hits, np.arange(100))
    reach = rate.value - rate.ci[0]
    assert rate.groups_to_exclude(rate.value - reach / 2) == pytest.approx(400, abs=1)
    assert rate.groups_to_exclude(0.1) == 101
    assert rate.groups_to_exclude(rate.value) is None
    assert rate.groups_to_exclude(rate.value - reach / 31) == pytest.approx(100 * 31**2, abs=1)
    assert rate.groups_to_exclude(rate.value - reach / 32) is None  # 1,024 times as many


@pytest.mark.parametrize("total", [4, 8, 20, 100])
def test_an_interval_of_patients_who_are_all_right_is_near_the_exact_binomial_one(total: int) -> None:
    low, high = mean_rate(np.ones((total, 1)), np.arange(total)).ci
    assert high == 1.0
    assert binom.pmf(total, total, low) == pytest.approx(0.025, abs=0.03)
    assert mean_rate(np.zeros((total, 1)), np.arange(total)).ci == pytest.approx((0.0, 1.0 - low), abs=0.03)


def test_images_of_one_patient_count_as_one() -> None:
    hits = np.ones((80, 1))
    assert mean_rate(hits, np.arange(80) // 10).ci[0] < mean_rate(hits, np.arange(80)).ci[0] - 0.2


def test_a_class_of_few_patients_widens_the_mean_of_all_classes() -> None:
    label = np.r_[np.zeros(100, int), np.ones(4, int)]
    cases = np.where(label[:, None] == np.arange(2), 1.0, np.nan)
    assert mean_rate(cases, np.arange(104)).ci[0] < 0.9


def test_undefined_cases_and_classes_are_left_out() -> None:
    cases = np.array([[1.0, np.nan, np.nan], [0.0, np.nan, np.nan], [np.nan, 1.0, np.nan]])
    assert mean_rate(cases, ["a", "b", "c"]).value == pytest.approx(0.75)
    empty = mean_rate(cases[:, 2:], ["a", "b", "c"])
    assert np.isnan(empty.value)
    assert (empty.ci, empty.groups_to_exclude(0.5)) == ((0.0, 1.0), None)


def test_the_interval_of_a_mean_adds_independent_errors_on_each_side() -> None:
    value, (low, high) = mean_of_independent([0.8, 0.6], [(0.7, 0.84), (0.6 - 0.24, 0.6 + 0.03)])
    assert value == pytest.approx(0.7)
    assert (value - low, high - value) == pytest.approx((np.hypot(0.1, 0.24) / 2, np.hypot(0.04, 0.03) / 2))
    alone = mean_of_independent([0.8], [(0.7, 0.9)])
    assert alone[1] == pytest.approx((0.7, 0.9))


def test_the_interval_of_a_mean_covers_it_as_often_as_stated() -> None:
    rng = np.random.default_rng(0)
    truth, covered = np.array([0.9, 0.6, 0.75]), 0
    for _ in range(300):
        rates = [mean_rate((rng.random((60, 1)) < one).astype(float), np.arange(60)) for one in truth]
        _, (low, high) = mean_of_independent([rate.value for rate in rates], [rate.ci for rate in rates])
        covered += low <= truth.mean() <= high
    assert 0.93 <= covered / 300 <= 1.0
