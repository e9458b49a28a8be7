"""Against torchmetrics, scikit-learn where it is installed, and values by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torchmetrics.functional import classification as reference

from lorkit.decompose.errors import DataError
from lorkit.decompose.metrics import node

TWO = ("honest", "fraud")


def drawn(count: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and logits of which both vary: a number common to both changes no probability."""
    rng = np.random.default_rng(seed)
    label_N = (rng.random(count) < 0.2).astype(np.int64)
    common_N, margin_N = 3 * rng.normal(size=count), rng.normal(size=count) + 1.5 * label_N - 1.0
    return label_N, np.stack([common_N - margin_N / 2, common_N + margin_N / 2], axis=1)


def test_scores_are_those_of_the_margin() -> None:
    label_N, logit_N2 = drawn()
    found = node.scores(label_N, logit_N2, np.arange(300), classes=TWO, threshold=0.4, replicates=50)
    share_N, truth_N = torch.from_numpy(softmax(logit_N2, axis=1)[:, 1]), torch.from_numpy(label_N)
    said_N = (share_N >= 0.4).long()
    assert found["ap"] == pytest.approx(float(reference.binary_average_precision(share_N, truth_N)), abs=1e-6)
    assert found["auroc"] == pytest.approx(float(reference.binary_auroc(share_N, truth_N)), abs=1e-6)
    f1 = reference.multiclass_f1_score(said_N, truth_N, num_classes=2, average="macro")
    assert found["f1_macro"] == pytest.approx(float(f1), abs=1e-6)
    recalls = reference.multiclass_recall(said_N, truth_N, num_classes=2, average=None)
    assert found["gmean"] == pytest.approx(float(recalls.prod().sqrt()), abs=1e-6)
    assert found["balanced_accuracy"] == pytest.approx(float(recalls.mean()), abs=1e-6)
    positives = int(label_N.sum())
    first_N = np.argsort(-share_N.numpy())[:positives]
    assert found["recall_at_k"] == pytest.approx(label_N[first_N].mean())
    row = found["labels"]["fraud"]
    assert (row["k"], row["n_positive"], row["ap"]) == (positives, positives, found["ap"])
    assert row["sensitivity"] == pytest.approx(float(recalls[1]), abs=1e-6)
    assert np.sum(found["confusion"], axis=1).tolist() == [300 - positives, positives]
    for name in node.HEADLINE:
        low, high = found["ci"][name]
        assert low <= found[name] <= high or name in ("ece", "brier")


@pytest.mark.parametrize("classes", [2, 3])
def test_histograms_are_of_the_probabilities_at_the_temperature(classes: int) -> None:
    rng = np.random.default_rng(1)
    label_N, logit_NC = rng.integers(classes, size=200), rng.normal(size=(200, classes))
    names = ("a", "b", "c")[:classes]
    found = node.scores(label_N, logit_NC, np.arange(200), classes=names, temperature=2.5, replicates=2)
    share_NC = softmax(logit_NC / 2.5, axis=1)
    for name in node.positive_classes(names):
        own_N, row = label_N == names.index(name), found["labels"][name]["histogram"]
        for kind, counts in ((own_N, row["positive"]), (~own_N, row["negative"])):
            share_N = np.clip(share_NC[kind, names.index(name)], row["edges"][0], row["edges"][-1])  # up to rounding
            assert counts == np.histogram(share_N, row["edges"])[0].tolist()


def test_average_precision_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    label_N, logit_N2 = drawn()
    for logits in (logit_N2, np.round(logit_N2), 0 * logit_N2):
        found = node.scores(label_N, logits, np.arange(300), classes=TWO, replicates=2)
        margin_N = logits[:, 1] - logits[:, 0]
        assert found["ap"] == pytest.approx(metrics.average_precision_score(label_N, margin_N), abs=1e-12)


def test_a_number_added_to_both_logits_changes_nothing() -> None:
    label_N, logit_N2 = drawn()
    common_N1 = 5 * np.random.default_rng(3).normal(size=(300, 1))
    one, two = (
        node.scores(label_N, logits, np.arange(300), classes=TWO, threshold=0.3, replicates=20)
        for logits in (logit_N2, logit_N2 + common_N1)
    )
    for name in node.HEADLINE:
        assert one[name] == pytest.approx(two[name])
    np.testing.assert_allclose(*(node.scores_by_case(label_N, one) for one in (logit_N2, logit_N2 + common_N1)))
    alone = np.stack([0 * logit_N2[:, 1], logit_N2[:, 1]], axis=1)  # the fault: z1 as the score
    assert node.scores(label_N, alone, np.arange(300), classes=TWO, replicates=2)["ap"] < one["ap"] - 0.05


def test_scores_by_hand() -> None:
    label_N, margin_N = np.array([1, 0, 1, 0, 0, 1]), np.array([3.0, 2.0, 1.0, 1.0, 0.0, -1.0])
    found = node.scores(label_N, np.stack([0 * margin_N, margin_N], 1), list("abcdef"), classes=TWO, replicates=20)
    assert found["ap"] == pytest.approx((1 + 2 / 4 + 3 / 6) / 3)
    assert found["recall_at_k"] == pytest.approx((1 + 1 / 2) / 3)  # two cases share the third place
    assert found["confusion"] == [[1, 2], [1, 2]]
    assert found["f1_macro"] == pytest.approx((2 / 5 + 4 / 7) / 2)
    assert found["gmean"] == pytest.approx(np.sqrt(1 / 3 * 2 / 3))
    pr = found["labels"]["fraud"]["pr"]
    assert pr["recalls"] == pytest.approx([1 / 3, 2 / 3, 1.0], abs=1e-5)
    assert pr["precisions"] == pytest.approx([1.0, 0.5, 0.5])


def test_recall_among_stated_numbers_and_shares_of_nodes() -> None:
    label_N, logit_N2 = drawn(301)
    group_N, margin_N = np.arange(301) // 3, logit_N2[:, 1] - logit_N2[:, 0]
    stated = (0.05, 20, 0.001, 400)
    found = node.scores(label_N, logit_N2, group_N, classes=TWO, recall_at=stated, replicates=50)
    order_N = np.argsort(-margin_N)
    for at, k, row in zip(stated, (15, 20, 1, 301), found["recall_at"], strict=True):
        assert (row["at"], row["k"]) == (at, k)
        assert row["recall"] == pytest.approx(label_N[order_N[:k]].sum() / label_N.sum())
        assert row["ci"][0] <= row["recall"] <= row["ci"][1]
    first = found["recall_at"][0]
    assert (found["recall_at_k"], found["ci"]["recall_at_k"]) == (first["recall"], pytest.approx(first["ci"]))
    assert found["labels"]["fraud"]["k"] == 15
    assert "recall_at" not in node.scores(label_N, logit_N2, group_N, classes=TWO, replicates=2)


def test_recall_of_several_classes_is_their_mean() -> None:
    rng = np.random.default_rng(0)
    label_N, logit_N3 = rng.integers(0, 3, 90), rng.normal(size=(90, 3))
    found = node.scores(label_N, logit_N3, np.arange(90), classes=("a", "b", "c"), recall_at=(0.1,), replicates=5)
    margin_N3 = logit_N3 - np.stack([np.logaddexp(*logit_N3[:, others].T) for others in ([1, 2], [0, 2], [0, 1])], 1)
    recalls = [(label_N[np.argsort(-margin_N3[:, at])[:9]] == at).sum() / (label_N == at).sum() for at in range(3)]
    assert found["recall_at"][0]["recall"] == pytest.approx(np.mean(recalls))


def test_equal_scores_have_the_precision_of_chance() -> None:
    label_N = np.array([1, 0, 0, 0] * 5)
    found = node.scores(label_N, np.zeros((20, 2)), np.arange(20), classes=TWO, replicates=20)
    assert found["ap"] == found["recall_at_k"] == pytest.approx(0.25)
    assert found["auroc"] == 0.5
    assert found["gmean"] == 0.0  # the rare class is never answered


def test_an_absent_class_leaves_metrics_undefined() -> None:
    logit_N2 = drawn()[1][:20]
    for label, row in ((0, "n_positive"), (1, "n_negative")):
        found = node.scores(np.full(20, label), logit_N2, np.arange(20), classes=TWO, replicates=20)
        assert found["labels"]["fraud"][row] == 0
        for name in ("ap", "auroc", "f1_macro", "gmean", "balanced_accuracy"):
            assert found[name] is None, name
            assert found["ci"][name] is None
        assert np.isnan(node.scores_by_case(np.full(20, label), logit_N2)).all()
    assert found["accuracy"] is not None
    assert np.isnan(node.paired_drop(np.zeros(20), logit_N2, logit_N2, np.arange(20)).drop)


def test_answers_that_are_all_right_keep_a_width() -> None:
    label_N = np.array([0, 1] * 10)
    found = node.scores(label_N, 9.0 * np.eye(2)[label_N], np.arange(20), classes=TWO, replicates=20)
    for name in node.DECIDED:
        assert found[name] == 1.0
        assert found["ci"][name][0] < 0.95


def test_of_more_classes_each_is_against_the_rest() -> None:
    rng = np.random.default_rng(0)
    label_N = rng.integers(0, 3, 200)
    logit_N3 = rng.normal(size=(200, 3)) + np.eye(3)[label_N]
    found = node.scores(label_N, logit_N3, np.arange(200), classes=("a", "b", "c"), replicates=20)
    share_N3, truth_N = torch.from_numpy(softmax(logit_N3, axis=1)), torch.from_numpy(label_N)
    wanted = reference.multiclass_average_precision(share_N3, truth_N, num_classes=3, average="macro")
    assert found["ap"] == pytest.approx(float(wanted), abs=1e-6)
    assert list(found["labels"]) == ["a", "b", "c"]
    assert node.scores_by_case(label_N, logit_N3).mean(0).mean() == pytest.approx(found["ap"])
    assert node.average_precision_rate(label_N, logit_N3, np.arange(200)).value == pytest.approx(found["ap"])


def top_label_error(share_NC: np.ndarray, label_N: np.ndarray) -> float:
    """Return the ECE of 15 bins from a loop over the cases."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for share_C, label in zip(share_NC, label_N, strict=True):
        top = int(np.argmax(share_C))
        bins.setdefault(min(int(share_C[top] * 15), 14), []).append((float(share_C[top]), top == label))
    gaps = [abs(sum(share - right for share, right in cases)) for cases in bins.values()]
    return sum(gaps) / len(label_N)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_calibration_is_of_the_softmax_over_all_classes(classes: int, temperature: float) -> None:
    rng = np.random.default_rng(classes)
    label_N, names = rng.integers(classes, size=300), tuple("abcde"[:classes])
    logit_NC = 2 * rng.normal(size=(300, classes)) + np.eye(classes)[label_N]
    settings = {"classes": names, "temperature": temperature, "replicates": 200}
    found = node.scores(label_N, logit_NC, np.arange(300), **settings)  # type: ignore[arg-type]
    share_NC, member_NC = softmax(logit_NC / temperature, axis=1), np.eye(classes)[label_N]
    assert found["ece"] == pytest.approx(top_label_error(share_NC, label_N), abs=1e-12)
    assert found["brier"] == pytest.approx(((share_NC - member_NC) ** 2).sum(1).mean(), abs=1e-12)
    plain = node.scores(label_N, logit_NC, np.arange(300), classes=names, replicates=2)
    assert (found["ap"], found["auroc"]) == (plain["ap"], plain["auroc"])  # the order is that of the gate
    for name, row in found["labels"].items():
        own_N, share_N = member_NC[:, names.index(name)], share_NC[:, names.index(name)]
        bin_N = np.minimum(np.floor(share_N * 15), 14)
        gaps = [abs((share_N - own_N)[bin_N == one].sum()) for one in range(15)]
        assert row["ece"] == pytest.approx(sum(gaps) / 300, abs=1e-9)
        assert row["brier"] == pytest.approx(((share_N - own_N) ** 2).mean(), abs=1e-9)
        assert row["ci"]["brier"][0] < row["brier"] < row["ci"]["brier"][1]
        assert row["auroc"] == next(one["auroc"] for one in found["per_class"] if one["class"] == name)


def test_the_temperature_of_more_classes_is_found() -> None:
    rng = np.random.default_rng(0)
    logit_N4 = 2 * rng.normal(size=(20_000, 4))
    label_N = (softmax(logit_N4, axis=1).cumsum(1) < rng.random(20_000)[:, None]).sum(1)
    temperature, chosen = node.choose(label_N, 3 * logit_N4, None)  # three times too certain
    assert temperature == pytest.approx(3.0, rel=0.05)
    assert chosen.threshold is None


def test_intervals_contain_the_precision_of_many_cases() -> None:
    label_N, logit_N2 = drawn(100_000, seed=9)
    true = node.scores_by_case(label_N, logit_N2).mean()
    inside = 0
    for at in range(60):
        part = slice(400 * at, 400 * (at + 1))
        low, high = node.average_precision_rate(label_N[part], logit_N2[part], np.arange(400)).ci
        inside += low <= true <= high
    assert inside >= 55


def test_the_temperature_is_found_and_the_threshold_is_of_the_calibrated_probability() -> None:
    rng = np.random.default_rng(0)
    margin_N = 2 * rng.normal(size=20_000) - 1
    label_N = (rng.random(20_000) < 1 / (1 + np.exp(-margin_N))).astype(np.int64)
    logit_N2 = 3 * np.stack([0 * margin_N, margin_N], axis=1)  # three times too certain
    temperature, chosen = node.choose(label_N, logit_N2, {"cost": 4.0})
    assert temperature == pytest.approx(3.0, rel=0.05)
    assert chosen.threshold == pytest.approx(1 / (1 + 4), abs=0.06)
    raw, calibrated = (
        node.scores(label_N[:4000], logit_N2[:4000], np.arange(4000), classes=TWO, temperature=one, replicates=2)
        for one in (1.0, temperature)
    )
    assert calibrated["ece"] < 0.03 < raw["ece"]
    assert calibrated["ap"] == pytest.approx(raw["ap"])
    said_N = node.answers(logit_N2, chosen.threshold, temperature)
    np.testing.assert_array_equal(said_N, softmax(logit_N2 / temperature, axis=1)[:, 1] >= chosen.threshold)


def test_bad_input_is_named() -> None:
    label_N, logit_N2 = drawn(10)
    with pytest.raises(DataError, match="labels from"):
        node.paired_drop(label_N - 1, logit_N2, logit_N2, np.arange(10))
