from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from lorkit.decompose.errors import DataError
from lorkit.decompose.metrics import paired_difference, paired_drop
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
    hits = [logits.argmax(1) == labels for logits in (baseline, candidate)]
    names = np.unique(groups)

    def share(name: int) -> float:
        """Return what all cases of a patient weigh."""
        return float(np.mean([(labels[groups == name] == label).sum() / (labels == label).sum() for label in range(3)]))

    heaviest = groups == max(names, key=share)

    def drop(weight_G: Floats, further: float, gain: float) -> float:
        """Return the drop with weighted patients and a further one, a copy of the heaviest that gains or loses all."""
        weight_N = np.append(weight_G[np.searchsorted(names, groups)], np.full(heaviest.sum(), further))
        label_N = np.append(labels, labels[heaviest])
        recalls = []
        for hit, own in zip(hits, (1 - gain, gain), strict=True):
            hit_N = np.append(hit, np.full(heaviest.sum(), own))
            recalls.append(
                [np.average(hit_N[label_N == label], weights=weight_N[label_N == label]) for label in range(3)]
            )
        return float(np.mean(recalls[0]) - np.mean(recalls[1]))

    weights = np.random.default_rng(7).standard_exponential((30, len(names) + 1))
    low, high = ([drop(row[:-1], row[-1], gain) for row in weights] for gain in (1.0, 0.0))
    assert found.drop == pytest.approx(drop(np.ones(len(names)), 0.0, 0.0))
    assert found.baseline - found.candidate == pytest.approx(found.drop)
    np.testing.assert_allclose(found.ci, [np.quantile(low, 0.025), np.quantile(high, 0.975)], atol=1e-9)
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
    few, many = (paired_means(one, two, np.arange(40) % groups, allowed=0.02) for groups in (4, 40))
    assert many.ci[0] < many.drop < many.ci[1]
    assert few.decidable > many.decidable
    with pytest.raises(DataError, match="without any structure"):
        paired_means(np.full((3, 1), np.nan), np.full((3, 1), np.nan), np.arange(3), allowed=0.02)


def test_the_unseen_loss_of_dice_grows_with_the_allowed_drop_and_with_what_was_seen() -> None:
    one = np.full((40, 1), 0.9)
    lost = one.copy()
    lost[0] = 0.3

    def assumed(two: Floats, allowed: float) -> float:
        found = paired_means(one, two, np.arange(40), allowed=allowed).uncertainty
        assert found is not None
        return found.unseen_loss

    assert [assumed(one, allowed) for allowed in (0.005, 0.02, 0.05, 0.5)] == pytest.approx([0.2, 0.2, 0.5, 1.0])
    assert assumed(lost, 0.02) == pytest.approx(0.6)


@pytest.mark.parametrize(("patients", "passes"), [(30, False), (45, True)])
def test_equal_dice_passes_once_a_tenth_of_the_patients_would_have_been_seen(patients: int, passes: bool) -> None:
    """With 36 patients, at least one of a tenth of all patients is seen with 97.5 %: 0.9^36 = 0.0225."""
    same = np.full((patients, 2), 0.8)
    for allowed in (0.02, 0.05):
        assert (paired_means(same, same, np.arange(patients), allowed=allowed).ci[1] < allowed) == passes


def test_a_structure_of_one_side_only_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.uniform(0.6, 0.9, (2, 40, 2))
    more = [np.column_stack([one, np.full(40, np.nan)]), np.column_stack([two, np.full(40, 0.0)])]
    alone = paired_means(one, two, np.arange(40), allowed=0.02)
    assert paired_means(*more, np.arange(40), allowed=0.02).ci == pytest.approx(alone.ci)


CONCENTRATED = {
    # patients, classes, whether a patient has all classes, share of (class 0 of) the patients that lose everything
    "two classes, loss in one": (200, 2, False, 0.04),
    "few patients with all classes": (15, 10, True, 0.02),
    "many patients with all classes": (200, 5, True, 0.02),
    "twenty classes, loss in one": (160, 20, False, 0.4),
}


@pytest.mark.parametrize("case", CONCENTRATED)
def test_losses_in_few_patients_seldom_pass(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The true drop equals the allowed one, so a PASS is false: 2.5 % of 300 are 7.5; more than 15 have p < 0.01."""
    monkeypatch.setattr("lorkit.decompose.metrics.paired.REPLICATES", 500)
    patients, classes, whole, share = CONCENTRATED[case]
    labels, groups = np.arange(patients) % classes, np.arange(patients)
    if whole:
        labels, groups = np.tile(np.arange(classes), patients), np.repeat(np.arange(patients), classes)
    rng = np.random.default_rng(0)
    passed = 0
    for seed in range(300):
        lost = (rng.random(patients) < share)[groups] & (whole | (labels == 0))
        found = paired_difference(labels, np.ones(len(labels)), 1.0 - lost, groups, seed=seed)
        passed += found.ci[1] < 0.02
    assert passed <= 15


@pytest.mark.parametrize("patients", [6, 20, 45])
def test_dice_lost_by_a_tenth_of_the_patients_seldom_passes(patients: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lorkit.decompose.metrics.paired.REPLICATES", 500)
    rng = np.random.default_rng(0)
    passed = 0
    for seed in range(300):
        lost = 0.2 * (rng.random((patients, 1)) < 0.1) + rng.normal(0, 0.01, (patients, 1))
        found = paired_means(np.full_like(lost, 0.7), 0.7 - lost, np.arange(patients), allowed=0.02, seed=seed)
        passed += found.ci[1] < 0.02
    assert passed <= 15


def test_a_loss_in_all_patients_fails_and_is_rarely_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lorkit.decompose.metrics.paired.REPLICATES", 500)
    rng = np.random.default_rng(0)
    for groups in (6, 9, 40):
        passed = failed = 0
        for seed in range(100):
            lost = rng.normal(0.05, 0.05, (groups, 1))
            found = paired_means(np.full_like(lost, 0.7), 0.7 - lost, np.arange(groups), allowed=0.05, seed=seed)
            passed, failed = passed + (found.ci[1] < 0.05), failed + (found.ci[0] > 0.05)
        assert max(passed, failed) <= 6
    certain = paired_means(np.full((12, 1), 0.9), np.full((12, 1), 0.5), np.arange(12), allowed=0.02)
    assert certain.ci[0] > 0.02
