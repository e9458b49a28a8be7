import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from lorkit.decompose.metrics import classification, multilabel
from lorkit.decompose.metrics.answer_rates import RATES, answer_rates, no_rates
from lorkit.decompose.metrics.bootstrap import resample


def reference(truth: list[bool], said: list[bool]) -> dict[str, float]:
    (tn, fp), (fn, tp) = confusion_matrix(truth, said, labels=[False, True]).astype(np.float64)
    return {
        "sensitivity": tp / (tp + fn), "specificity": tn / (tn + fp),
        "ppv": tp / (tp + fp), "npv": tn / (tn + fn),
    }  # fmt: skip


def drawn(seed: int, n: int = 90) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.4
    return truth, truth ^ (rng.random(n) < 0.25), rng.integers(0, 30, n)


def test_rates_and_intervals_agree_with_a_loop_over_patients_and_scikit_learn() -> None:
    truth, said, groups = drawn(0)
    draws = resample(groups, seed=3, replicates=60)
    point, spread = answer_rates(truth, said, groups, draws)
    assert point == pytest.approx(reference(truth.tolist(), said.tolist()))
    again = []
    for counts in draws.counts_RG:
        kept = np.repeat(np.arange(len(truth)), counts[draws.group_N].astype(int))
        again.append(reference(truth[kept].tolist(), said[kept].tolist()))
    for name in RATES:
        np.testing.assert_allclose(spread[name], np.quantile([row[name] for row in again], [0.025, 0.975]), atol=1e-12)


def test_copies_of_a_patients_images_add_nothing() -> None:
    truth, said, groups = drawn(1)
    once = answer_rates(truth, said, groups, resample(groups, seed=0, replicates=200))
    three = [np.tile(one, 3) for one in (truth, said, groups)]
    copied = answer_rates(three[0], three[1], three[2], resample(three[2], seed=0, replicates=200))
    for one, two in zip(once, copied, strict=True):
        for name in RATES:
            np.testing.assert_allclose(one[name], two[name])


def test_answers_that_are_all_right_are_not_certain() -> None:
    truth = np.arange(24) < 8
    _, spread = answer_rates(truth, truth, np.arange(24), resample(np.arange(24), seed=0, replicates=100))
    exact = binomtest(8, 8).proportion_ci(method="exact")
    assert spread["sensitivity"] == pytest.approx([exact.low, exact.high], abs=0.02)
    assert spread["specificity"][0] > spread["sensitivity"][0], "of more cases it is known better"  # type: ignore[index]


def test_rates_of_no_case_are_undefined() -> None:
    none = np.zeros(6, np.bool_)
    point, spread = answer_rates(none, none, np.arange(6), resample(np.arange(6), seed=0, replicates=5))
    assert (point["sensitivity"], point["ppv"]) == (None, None)
    assert spread["sensitivity"] is None
    assert (point["specificity"], point["npv"]) == (1.0, 1.0)
    assert no_rates() == ({name: None for name in RATES}, {name: None for name in RATES})


def test_classes_and_labels_state_them() -> None:
    truth, said, groups = drawn(2)
    logits = np.stack([np.zeros(len(said)), np.where(said, 2.0, -2.0)], axis=1)
    row = classification.scores(truth, logits, groups, replicates=40)["per_class"][1]
    label = multilabel.scores(
        truth[:, None], logits[:, 1:], groups, names=["ill"], thresholds=[0.5], replicates=40
    )["labels"]["ill"]  # fmt: skip
    expected = reference(truth.tolist(), said.tolist())
    assert [row[name] for name in ("recall", *RATES[1:])] == pytest.approx(list(expected.values()))
    assert {name: label[name] for name in RATES} == pytest.approx(expected)
    for name in RATES:
        np.testing.assert_allclose(row["ci"]["recall" if name == "sensitivity" else name], label["ci"][name])
