from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from lorkit.decompose.errors import DataError
from lorkit.decompose.metrics import paired_difference, paired_drop
from lorkit.decompose.metrics.bootstrap import resample
from lorkit.decompose.metrics.paired import paired_means

Floats = NDArray[np.float64]


def two_models(n: int = 400, *, flip: float = 0.1, seed: int = 0) -> tuple[NDArray[np.int64], Floats, Floats]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    baseline = np.eye(3)[np.where(rng.random(n) < 0.9, labels, (labels + 1) % 3)]
    worse = rng.random(n) < flip
    return labels, baseline, np.where(worse[:, None], np.eye(3)[(labels + 2) % 3], baseline)


def test_drop_and_interval_equal_a_naive_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lorkit.decompose.metrics.paired.REPLICATES", 30)
    labels, baseline, candidate = two_models(150)
    groups = np.random.default_rng(3).integers(0, 60, 150)
    found = paired_drop(labels, baseline, candidate, groups, seed=7)

    def balanced(logits: Floats, kept: NDArray[np.int64]) -> float:
        hit = logits[kept].argmax(1) == labels[kept]
        return float(np.mean([hit[labels[kept] == label].mean() for label in np.unique(labels[kept])]))

    draws = resample(groups, seed=7, replicates=30)
    drops = []
    for counts in draws.counts_RG:
        kept = np.repeat(np.arange(150), counts[draws.group_N].astype(int))
        drops.append(balanced(baseline, kept) - balanced(candidate, kept))
    everything = np.arange(150)
    assert found.drop == pytest.approx(balanced(baseline, everything) - balanced(candidate, everything))
    assert found.baseline - found.candidate == pytest.approx(found.drop)
    np.testing.assert_allclose(found.ci, np.quantile(drops, [0.025, 0.975]), atol=1e-9)
    assert found.decidable == pytest.approx((found.ci[1] - found.ci[0]) / 2)


def test_a_real_loss_is_seen_and_mcnemar_agrees() -> None:
    labels, baseline, candidate = two_models()
    found = paired_drop(labels, baseline, candidate, np.arange(400))
    lost = ((baseline.argmax(1) == labels) & (candidate.argmax(1) != labels)).sum()
    won = ((baseline.argmax(1) != labels) & (candidate.argmax(1) == labels)).sum()
    assert found.ci[0] > 0
    assert found.mcnemar_p == pytest.approx(binomtest(int(lost), int(lost + won)).pvalue)


def test_the_interval_covers_the_truth_about_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lorkit.decompose.metrics.paired.REPLICATES", 400)
    covered = 0
    for seed in range(60):
        labels, baseline, candidate = two_models(300, flip=0.1, seed=seed)
        low, high = paired_drop(labels, baseline, candidate, np.arange(300)).ci
        covered += low <= 0.09 <= high
    assert covered >= 52


def test_identical_models_on_few_cases_decide_nothing() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    found = paired_drop(labels, np.eye(2)[labels], np.eye(2)[labels], np.arange(8))
    assert found.drop == 0
    assert found.decidable > 0.2
    assert found.mcnemar_p == 1.0
    many = np.tile(labels, 500)
    assert paired_drop(many, np.eye(2)[many], np.eye(2)[many], np.arange(4000)).decidable < 0.002
    one_patient_a_label = paired_drop(many, np.eye(2)[many], np.eye(2)[many], many)
    assert one_patient_a_label.decidable > 0.4


def test_swapping_the_sides_mirrors_the_result() -> None:
    labels, baseline, candidate = two_models()
    forth = paired_drop(labels, baseline, candidate, np.arange(400))
    back = paired_drop(labels, candidate, baseline, np.arange(400))
    assert back.drop == pytest.approx(-forth.drop)
    np.testing.assert_allclose(back.ci, [-forth.ci[1], -forth.ci[0]], atol=1e-12)


def test_average_hits_of_several_models_have_no_mcnemar() -> None:
    found = paired_difference([0, 1, 1], [1.0, 0.5, 1.0], [0.5, 0.5, 1.0], [0, 1, 2])
    assert found.mcnemar_p is None
    assert found.drop == pytest.approx(0.25)


def test_other_classes_are_refused() -> None:
    with pytest.raises(DataError, match="same cases and classes"):
        paired_drop([0, 1], np.eye(2), np.eye(3)[:2], [0, 1])


def test_few_groups_get_wide_intervals() -> None:
    rng = np.random.default_rng(0)
    one = rng.uniform(0.6, 0.9, (40, 2))
    two = one - 0.05 + rng.normal(0, 0.02, one.shape)
    few, many = (paired_means(one, two, np.arange(40) % groups) for groups in (4, 40))
    assert many.ci[0] < many.drop < many.ci[1]
    assert few.decidable > many.decidable
    assert paired_means(one, two, np.zeros(40)).ci == (-1.0, 1.0)
    with pytest.raises(DataError, match="without any structure"):
        paired_means(np.full((3, 1), np.nan), np.full((3, 1), np.nan), np.arange(3))


def test_few_groups_seldom_pass_what_loses_as_much_as_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lorkit.decompose.metrics.paired.REPLICATES", 300)
    rng = np.random.default_rng(0)
    for groups in (6, 9):
        passed = 0
        for seed in range(100):
            lost = rng.normal(0.05, 0.05, (groups, 1))
            found = paired_means(np.full_like(lost, 0.7), 0.7 - lost, np.arange(groups), seed=seed)
            passed += found.ci[1] < 0.05
        assert passed <= 8  # of 2.5 expected
    same = np.full((5, 1), 0.7)
    assert paired_means(same, same, np.arange(5)).ci == (-1.0, 1.0)
