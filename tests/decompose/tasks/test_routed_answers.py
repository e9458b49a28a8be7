from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lorkit.decompose.documents.heads import head_output
from lorkit.decompose.errors import DataError
from lorkit.decompose.metrics import multilabel
from lorkit.decompose.metrics.paired import paired_drop
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks import TASKS, get_task
from lorkit.decompose.tasks.routed_answers import routed_answers

CHEST = Region(name="chest", classes=("normal", "pneumonia", "effusion"))
BRAIN = Region(name="brain", classes=("normal", "tumour"))
ACCOUNTS = Region(name="accounts", task="node", classes=("honest", "fraud"))
FINDINGS = Region(name="findings", task="multilabel", classes=("mass", "nodule"))
LUNG = Region(name="lung", task="segmentation", classes=("left", "right"))
VESSELS = Region(name="vessels", task="structures", classes=("artery", "vein"))
NAMES = ("chest", "brain")


def outputs(confidence: list[float]) -> dict[str, np.ndarray]:
    """Three images: the first two look like the chest, the third like the brain."""
    return {
        head_output("chest"): np.array([[3, 1, 0], [0, 1, 3], [9, 0, 0]], np.float32),
        head_output("brain"): np.array([[0, 7], [7, 0], [1, 2]], np.float32),
        "region_probabilities": np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], np.float32),
        "confidence": np.array(confidence, np.float32),
    }


def test_the_head_of_the_most_probable_region_answers() -> None:
    found = routed_answers(outputs([0.9, 0.6, 0.8]), NAMES, policy="routed", abstain_below=None)
    assert [found.region(index) for index in range(3)] == ["chest", "chest", "brain"]
    np.testing.assert_array_equal(found.answer(2), [1, 2])
    assert found.answered_as("chest").tolist() == [True, True, False]


def test_no_answer_below_the_confidence_and_one_at_it() -> None:
    found = routed_answers(outputs([0.9, 0.6, 0.7]), NAMES, policy="routed", abstain_below=np.float32(0.7))
    assert [found.answer(index) is None for index in range(3)] == [False, True, False]
    assert found.answered_as("chest").tolist() == [True, False, False]


def test_a_case_of_another_head_or_without_answer_counts_as_wrong() -> None:
    found = routed_answers(outputs([0.9, 0.1, 0.8]), NAMES, policy="routed", abstain_below=0.5)
    labels = np.array([0, 2, 0])  # the head of the chest would be right on all three
    known = np.asarray(found.logits["chest"])
    judged = found.outputs_for(CHEST, labels)
    np.testing.assert_array_equal(judged[0], known[0])
    assert (known.argmax(1) == labels).tolist() == [True, True, True]
    assert (judged.argmax(1) == labels).tolist() == [True, False, False]
    drop = paired_drop(labels, known, judged, list("abc"))
    assert drop.candidate == pytest.approx((1 / 2 + 0) / 2)  # the mean recall of the classes 0 and 2


def test_the_mean_over_heads_answers_whatever_the_region() -> None:
    same = Region(name="brain", classes=CHEST.classes)
    mean = np.array([[3, 1, 0], [0, 1, 3], [9, 0, 0]], np.float32)
    given = outputs([0.9, 0.6, 0.8]) | {"logits": mean}
    found = routed_answers(given, NAMES, policy="weighted", abstain_below=0.7)
    np.testing.assert_array_equal(found.answer(2), mean[2])
    assert found.outputs_for(same, np.array([0, 2, 0])).argmax(1).tolist() == [0, 0, 0]  # the second abstains


def wrong_class(targets: np.ndarray, wrong: np.ndarray) -> None:
    assert (wrong.argmax(1) != targets).all()
    np.testing.assert_array_equal(wrong.argmin(1), targets)


def wrong_labels(targets: np.ndarray, wrong: np.ndarray) -> None:
    found = multilabel.scores(targets, wrong, list("abc"), names=FINDINGS.classes)
    assert found["auroc"] == 0.0


def empty_masks(targets: np.ndarray, wrong: np.ndarray) -> None:
    assert wrong.shape == (3, 3, 2, 2)
    assert not wrong.argmax(1).any()


def empty_structures(targets: np.ndarray, wrong: np.ndarray) -> None:
    assert wrong.shape == (3, 2, 2, 2)
    assert not (wrong > 0).any()


@pytest.mark.parametrize(
    ("region", "targets", "check"),
    [
        (CHEST, np.array([0, 1, 2]), wrong_class),
        (BRAIN, np.array([0, 1, 1]), wrong_class),
        (ACCOUNTS, np.array([0, 1, 1]), wrong_class),
        (FINDINGS, np.array([[1, 0], [0, 1], [1, 1]]), wrong_labels),
        (LUNG, np.array([[[1, 1], [0, 2]]] * 3), empty_masks),
        (VESSELS, np.array([[[1, 3], [0, 2]]] * 3), empty_structures),
    ],
)
def test_wrong_outputs_are_wrong_in_every_decision(
    region: Region, targets: np.ndarray, check: Callable[[np.ndarray, np.ndarray], None]
) -> None:
    spatial = targets.shape[1:] if get_task(region.task).dense else ()
    wrong = get_task(region.task).wrong_outputs(region, targets, spatial)
    assert wrong.dtype == np.float32
    check(targets, wrong)
    assert {"classification", "multilabel", "segmentation", "structures", "node"} == set(TASKS)  # each has a row


def test_masks_of_another_head_are_empty() -> None:
    maps = np.zeros((2, 3, 4, 4), np.float32)
    maps[:, 1] = 5
    given = {
        head_output("lung"): maps,
        head_output("brain"): np.zeros((2, 2), np.float32),
        "region_probabilities": np.array([[0.9, 0.1], [0.1, 0.9]], np.float32),
        "confidence": np.array([0.9, 0.9], np.float32),
    }
    found = routed_answers(given, ("lung", "brain"), policy="routed", abstain_below=0.5)
    judged = found.outputs_for(LUNG, np.ones((2, 4, 4), np.int64)).argmax(1)
    assert (judged[0] == 1).all()
    assert not judged[1].any()


def test_probabilities_that_are_not_finite_are_refused() -> None:
    given = outputs([0.9, float("nan"), 0.8])
    with pytest.raises(DataError, match="NaN"):
        routed_answers(given, NAMES, policy="routed", abstain_below=None)
