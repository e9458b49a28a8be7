from __future__ import annotations

import numpy as np
import pytest
from counted_ranking import counted_precision, pair_auroc
from scipy.special import expit

from lorkit.decompose.errors import DataError
from lorkit.decompose.metrics import multilabel
from lorkit.decompose.metrics.bootstrap import interval, mean_defined, resample
from lorkit.decompose.metrics.ranking import auroc

NAMES = ("effusion", "nodule", "mass")


def drawn(count: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    label_NL = (rng.random((count, 3)) < (0.3, 0.5, 0.2)).astype(np.int64)
    logit_NL = np.round(rng.normal(size=(count, 3)) + label_NL, 1)
    label_NL[rng.random((count, 3)) < 0.2] = -1
    return label_NL, logit_NL, [f"p{index // 2}" for index in range(count)]


def test_every_label_is_measured_on_its_known_cases() -> None:
    label_NL, logit_NL, groups = drawn()
    found = multilabel.scores(label_NL, logit_NL, groups, names=NAMES, thresholds=[0.5, 0.4, None])
    for column, name in enumerate(NAMES):
        row, known = found["labels"][name], label_NL[:, column] >= 0
        positive, logit = (label_NL[known, column] == 1), logit_NL[known, column]
        assert row["auroc"] == pytest.approx(pair_auroc(positive.tolist(), logit.tolist()))
        assert row["ap"] == pytest.approx(counted_precision(positive.tolist(), logit.tolist()))
        assert row["brier"] == pytest.approx(((expit(logit) - positive) ** 2).mean())
        counts = (row["n_positive"], row["n_negative"], row["n_uncertain"])
        assert counts == (positive.sum(), (~positive).sum(), (~known).sum())
        assert row["ci"]["auroc"][0] < row["auroc"] < row["ci"]["auroc"][1]
    known = label_NL[:, 1] >= 0
    said, truth = expit(logit_NL[known, 1]) >= 0.4, label_NL[known, 1] == 1
    assert found["labels"]["nodule"]["sensitivity"] == pytest.approx(said[truth].mean())
    assert found["labels"]["nodule"]["specificity"] == pytest.approx((~said)[~truth].mean())
    assert found["labels"]["mass"]["sensitivity"] is None
    assert found["auroc"] == pytest.approx(np.mean([row["auroc"] for row in found["labels"].values()]))
    assert (found["n"], found["groups"]) == (80, 40)


def test_calibration_is_the_gap_between_probability_and_share_by_bin() -> None:
    label = np.array([[1], [0], [1], [1]])
    logit = np.log([[0.9 / 0.1], [0.9 / 0.1], [0.2 / 0.8], [0.21 / 0.79]])
    found = multilabel.scores(label, logit, ["a", "b", "c", "d"], names=("x",))
    assert found["ece"] == pytest.approx(0.5 * abs(0.9 - 0.5) + 0.25 * 0.8 + 0.25 * 0.79)


def test_a_label_with_one_answer_is_null_and_not_in_the_mean() -> None:
    label_NL, logit_NL, groups = drawn()
    label_NL[label_NL[:, 2] == 1, 2] = -1
    found = multilabel.scores(label_NL, logit_NL, groups, names=NAMES)
    assert found["labels"]["mass"]["auroc"] is None
    assert found["labels"]["mass"]["ap"] is None
    assert found["auroc"] == pytest.approx(np.mean([found["labels"][name]["auroc"] for name in NAMES[:2]]))
    assert multilabel.undefined_labels(label_NL, NAMES) == ["mass"]
    assert multilabel.choose_thresholds(label_NL, logit_NL, "youden")[2].threshold is None
    assert np.isnan(multilabel.scores_by_case(label_NL, logit_NL)[:, 4:]).all()


def test_unknown_answers_change_nothing() -> None:
    label_NL, logit_NL, groups = drawn()
    other = np.where(label_NL < 0, 9.0, logit_NL)
    one, two = (multilabel.scores(label_NL, logits, groups, names=NAMES) for logits in (logit_NL, other))
    assert one["labels"]["effusion"] == two["labels"]["effusion"]
    np.testing.assert_array_equal(
        multilabel.scores_by_case(label_NL, logit_NL), multilabel.scores_by_case(label_NL, other)
    )


def test_a_number_is_the_threshold_of_every_label() -> None:
    label_NL, logit_NL, _ = drawn()
    assert [one.threshold for one in multilabel.choose_thresholds(label_NL, logit_NL, 0.3)] == [0.3, 0.3, 0.3]


def test_means_of_resampled_cases_vary_as_the_area_does() -> None:
    rng = np.random.default_rng(0)
    label = (rng.random((400, 1)) < 0.3).astype(np.int64)
    sides = [rng.normal(size=(400, 1)) + label * effect for effect in (1.2, 0.6)]
    groups = np.arange(400) // 2
    draws = resample(groups, seed=0, replicates=2000)
    one, two = (multilabel.scores_by_case(label, logits) for logits in sides)
    linear_R = mean_defined(draws.means(one) - draws.means(two))
    exact_R = auroc(label[:, 0] == 1, sides[0][:, 0], draws) - auroc(label[:, 0] == 1, sides[1][:, 0], draws)
    assert linear_R.std() == pytest.approx(exact_R.std(), rel=0.03)
    assert np.corrcoef(linear_R, exact_R)[0, 1] > 0.99
    assert np.nanmean(one[:, 0]) == pytest.approx(np.nanmean(one[:, 1]))


def test_answers_are_columns_of_labels_that_have_both() -> None:
    label_NL = np.array([[1, 1], [0, -1], [-1, 1]])
    wanted = [[True, False, False, False], [False, True, False, False], [False] * 4]
    np.testing.assert_array_equal(multilabel.answered(label_NL), wanted)


def test_the_worst_further_patient_turns_a_label_around() -> None:
    """One more positive case, right against all negative ones and then wrong against all, moves the area by 1/(P+1)."""
    label, logit = np.array([[1]] * 4 + [[0]] * 5), np.linspace(1, 0, 9)[:, None]
    more = np.append(label, [[1]], axis=0)
    before, after = (
        pair_auroc((more[:, 0] == 1).tolist(), np.append(logit[:, 0], last).tolist()) for last in (2.0, -1.0)
    )
    assert before - after == pytest.approx(1 / 5)
    known = multilabel.answered(label)[:, 0]
    assert multilabel.UNSEEN * (1 / (known.sum() + 1)) / 2 == pytest.approx(before - after)


@pytest.mark.parametrize(
    ("labels", "logits", "text"),
    [
        ([[1, 0]], [[0.0]], "shapes|labels"),
        ([[2]], [[0.0]], "1 to 2|labels from"),
        ([[1]], [[np.nan]], "finite"),
    ],
)
def test_what_cannot_be_scored_is_refused(labels: list[list[int]], logits: list[list[float]], text: str) -> None:
    with pytest.raises(DataError, match=text):
        multilabel.check_table(labels, logits)


def test_the_interval_of_one_network_is_about_that_of_resampled_areas() -> None:
    rng = np.random.default_rng(0)
    label = (rng.random((600, 1)) < 0.4).astype(np.int64)
    logit = rng.normal(size=(600, 1)) + 1.2 * label
    groups = np.arange(600) // 2
    found = multilabel.auroc_rate(label, logit, groups)
    exact = interval(auroc(label[:, 0] == 1, logit[:, 0], resample(groups, seed=0, replicates=2000)))
    assert exact is not None
    assert found.value == pytest.approx(pair_auroc((label[:, 0] == 1).tolist(), logit[:, 0].tolist()))
    assert found.ci == pytest.approx(tuple(exact), abs=0.012)
    assert (found.ci[0] < exact[0], found.groups) == (True, 300)
    few = multilabel.auroc_rate([[1], [1], [0], [0]], [[2.0], [1.0], [0.0], [-1.0]], list("abcd"))
    assert few.value == 1.0
    assert few.ci[0] < 0.5  # four patients do not exclude chance
