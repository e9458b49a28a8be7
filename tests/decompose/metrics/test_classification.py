from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_auroc,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_roc,
)

from lorkit.decompose.metrics import CORNERS, HEADLINE, auroc_by_class, log_odds, roc, scores
from lorkit.decompose.metrics.bootstrap import resample


def cases(n: int = 300, classes: int = 4, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    labels[:classes] = np.arange(classes)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), labels] += 1.0
    return labels, logits


def naive_auroc(positive: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    wins = score[positive][:, None] - score[~positive][None]
    return float(((wins > 0) + (wins == 0) / 2).mean())


@pytest.mark.parametrize("classes", [2, 4])
def test_point_values_agree_with_torchmetrics(classes: int) -> None:
    labels, logits = cases(classes=classes)
    found = scores(labels, logits, np.arange(len(labels)), replicates=2)
    probability, target = torch.tensor(logits).softmax(1), torch.tensor(labels)
    arguments = (probability, target, classes)
    assert found["accuracy"] == pytest.approx(multiclass_accuracy(*arguments, average="micro").item(), abs=1e-6)
    assert found["balanced_accuracy"] == pytest.approx(multiclass_accuracy(*arguments).item(), abs=1e-6)
    assert found["auroc"] == pytest.approx(multiclass_auroc(*arguments).item(), abs=1e-5)
    assert found["ece"] == pytest.approx(multiclass_calibration_error(*arguments, n_bins=15).item(), abs=1e-5)
    assert found["confusion"] == multiclass_confusion_matrix(*arguments).tolist()
    one_hot = torch.nn.functional.one_hot(target, classes)
    assert found["brier"] == pytest.approx(((probability - one_hot) ** 2).sum(1).mean().item())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4))
def test_auroc_counts_ties_one_half_in_every_replicate(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, 25)
    logits = rng.integers(-1, 2, size=(25, classes)).astype(np.float64)
    draws = resample(rng.integers(0, 12, 25), seed=seed, replicates=3)
    for counts, areas in zip(draws.counts_RG, auroc_by_class(labels, logits, draws), strict=True):
        kept = np.repeat(np.arange(25), counts[draws.group_N].astype(int))
        for index, area in enumerate(areas):
            positive = labels[kept] == index
            if positive.any() and not positive.all():
                rest = np.delete(logits, index, axis=1)
                score = logits[:, index] - np.log(np.exp(rest).sum(1))
                assert area == pytest.approx(naive_auroc(positive, np.round(score[kept], 9)), abs=1e-9)
            else:
                assert np.isnan(area)


def test_confident_cases_do_not_tie() -> None:
    logits = np.array([[0.0, 800.0], [0.0, 900.0], [0.0, 700.0], [0.0, 600.0]])
    assert scores([1, 1, 0, 0], logits, range(4), replicates=2)["auroc"] == 1.0


def test_bootstrap_intervals_agree_with_a_naive_loop_over_patients() -> None:
    labels, logits = cases(120, 3)
    groups = np.random.default_rng(1).integers(0, 40, 120)
    found = scores(labels, logits, groups, seed=5, replicates=40)
    draws = resample(groups, seed=5, replicates=40)
    repeated = []
    for counts in draws.counts_RG:
        kept = np.repeat(np.arange(120), counts[draws.group_N].astype(int))
        repeated.append(scores(labels[kept], logits[kept], np.arange(len(kept)), replicates=1))
    for name in set(HEADLINE) - {"ece"}:  # see test_calibration
        expected = np.quantile([row[name] for row in repeated], [0.025, 0.975])
        np.testing.assert_allclose(found["ci"][name], expected, atol=1e-9, err_msg=name)


def test_correlated_images_of_a_patient_widen_the_interval() -> None:
    labels, logits = cases(100, 2)
    alone = scores(labels, logits, np.arange(100))["ci"]["accuracy"]
    copied = scores(np.tile(labels, 5), np.tile(logits, (5, 1)), np.tile(np.arange(100), 5))["ci"]["accuracy"]
    assert copied[1] - copied[0] == pytest.approx(alone[1] - alone[0])


def test_an_absent_class_leaves_undefined_metrics_null() -> None:
    labels, logits = cases(60, 3)
    kept = labels != 2
    found = scores(labels[kept], logits[kept], np.arange(kept.sum()), classes=["a", "b", "c"], replicates=20)
    assert found["balanced_accuracy"] is None
    assert found["auroc"] is None
    assert found["ci"]["auroc"] is None
    assert found["accuracy"] is not None
    absent = found["per_class"][2]
    undefined = {"class": "c", "n": 0, "recall": None, "auroc": None, "auroc_ci": None, "roc": None}
    assert {key: absent[key] for key in undefined} == undefined
    assert absent["ci"]["recall"] is None
    assert absent["npv"] == 1.0, "no case is of it"


def test_reliability_bins_hold_every_case_and_rebuild_the_calibration_error() -> None:
    labels, logits = cases()
    found = scores(labels, logits, np.arange(len(labels)), replicates=2)
    bins = found["reliability"]
    gap = sum(
        n * abs(confidence - accuracy)
        for n, confidence, accuracy in zip(bins["counts"], bins["confidences"], bins["accuracies"], strict=True)
        if n
    )
    assert sum(bins["counts"]) == len(labels)
    assert gap / len(labels) == pytest.approx(found["ece"])
    assert bins["confidences"][0] is None


def test_recall_and_precision_by_class() -> None:
    logits = np.eye(2)[[0, 0, 1, 1]]
    rows = scores([0, 1, 1, 1], logits, range(4), classes=["well", "ill"], replicates=2)["per_class"]
    assert [(row["class"], row["n"], row["recall"], row["ppv"]) for row in rows] == [
        ("well", 1, 1.0, 0.5),
        ("ill", 3, pytest.approx(2 / 3), 1.0),
    ]


def test_a_thousand_replicates_of_two_thousand_cases_are_quick() -> None:
    labels, logits = cases(2000, 5)
    before = time.process_time()
    scores(labels, logits, np.arange(2000))
    # a loop over replicates takes some ten seconds; the bound is loose because the machine may be shared
    assert time.process_time() - before < 4.0


def test_a_perfect_score_of_few_patients_is_no_certainty() -> None:
    labels = np.array([0, 0, 1, 1, 1])
    found = scores(labels, np.eye(2)[labels] * 9, ["a", "b", "c", "d", "e"])
    # two patients in the rarest of two classes; five in all: exact bounds of no error seen, two-sided 95 %
    np.testing.assert_allclose(found["ci"]["balanced_accuracy"], [1 - (1 - 0.025 ** (1 / 2)) / 2, 1])
    np.testing.assert_allclose(found["ci"]["accuracy"], [0.025 ** (1 / 5), 1])


def test_curves_agree_with_torchmetrics_where_nothing_is_thinned() -> None:
    labels, logits = cases(n=40, classes=3)
    fpr, tpr, _ = multiclass_roc(torch.tensor(logits).softmax(1), torch.tensor(labels), 3)
    for index in range(3):
        found = roc(labels == index, log_odds(logits, index))
        assert found is not None
        assert found["fpr"] == pytest.approx(fpr[index].tolist(), abs=1e-5)
        assert found["tpr"] == pytest.approx(tpr[index].tolist(), abs=1e-5)


@pytest.mark.parametrize("skill", [0.0, 1.0, 6.0])
def test_a_thinned_curve_keeps_its_area(skill: float) -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(5000) < 0.1
    score = rng.normal(size=5000) + skill * positive
    found = roc(positive, score)
    assert found is not None
    assert len(found["fpr"]) <= CORNERS
    assert (found["fpr"][0], found["tpr"][0], found["fpr"][-1], found["tpr"][-1]) == (0, 0, 1, 1)
    assert (np.diff(found["fpr"]) >= 0).all()
    assert np.trapezoid(found["tpr"], found["fpr"]) == pytest.approx(naive_auroc(positive, score), abs=0.005)


def test_equal_scores_are_one_step_and_an_empty_side_has_no_curve() -> None:
    positive = np.array([True, False, True, False])
    assert roc(positive, np.zeros(4)) == {"fpr": [0, 1], "tpr": [0, 1]}
    assert roc(np.zeros(4, dtype=bool), np.arange(4.0)) is None


def test_the_area_of_each_class_has_an_interval() -> None:
    labels, logits = cases()
    for row in scores(labels, logits, np.arange(len(labels)), replicates=100)["per_class"]:
        low, high = row["auroc_ci"]
        assert low <= row["auroc"] <= high
        assert high - low > 0.01
