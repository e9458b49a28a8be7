from __future__ import annotations

import numpy as np
import pytest

from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks import TASKS, get_task
from lorkit.decompose.tasks.classification import most_probable

CHEST = Region(name="chest", classes=("normal", "pneumonia", "effusion"))
TASK = get_task("classification")


def test_decoding_names_the_most_probable_classes_in_order() -> None:
    row = most_probable(CHEST, [[0.0, 2.0, 1.0]], top=2)[0]
    assert row[0].probability == pytest.approx(np.exp(2) / (1 + np.e + np.exp(2)))
    assert [entry.label for entry in row] == ["pneumonia", "effusion"]


def test_saturated_logits_still_have_an_order() -> None:
    assert most_probable(CHEST, [[800.0, 900.0, 0.0]])[0][0].label == "pneumonia"


def test_outputs_of_another_region_are_refused() -> None:
    with pytest.raises(DataError, match=r"\(N, 3\)"):
        most_probable(CHEST, np.zeros((1, 2)))


def test_scores_name_the_classes_and_hold_the_headline() -> None:
    found = TASK.scores(CHEST, [0, 1, 2], np.eye(3) * 9, ["a", "b", "c"])
    assert [row.class_name for row in found.per_class] == list(CHEST.classes)
    assert found.value(TASK.headline) == 1.0
    assert TASK.outputs(CHEST) == 3


def test_an_unknown_task_names_the_nearest() -> None:
    assert list(TASKS) == ["classification", "multilabel", "segmentation", "structures", "node"]
    with pytest.raises(UsageError, match="did you mean 'classification'"):
        get_task("clasification")
