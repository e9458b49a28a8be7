"""Labels become indices of classes, and what counts as no label is said."""

from __future__ import annotations

import numpy as np
import pytest

from lorkit.decompose.data.graphs.labels import encode_labels
from lorkit.decompose.errors import DataError, UsageError

CLASSES = ("honest", "fraud")


@pytest.mark.parametrize(
    ("values", "stated", "labels", "classes"),
    [
        (np.array([0, 1, 1]), None, [0, 1, 1], ("0", "1")),
        (np.array([1.0, 0.0, np.nan]), None, [1, 0, -1], ("0", "1")),
        (np.array([10, 2, -1]), None, [1, 0, -1], ("2", "10")),
        (np.array(["no", "yes", ""]), None, [0, 1, -1], ("no", "yes")),
        (np.array(["fraud", " honest "]), CLASSES, [1, 0], CLASSES),
        (np.array([0, 2, 1]), CLASSES, [0, -1, 1], CLASSES),
        (np.array([True, False]), CLASSES, [1, 0], CLASSES),
        (np.array(["1.0", "", "0.0"]), CLASSES, [1, -1, 0], CLASSES),
        (np.array(["1", "0"]), ("1", "0"), [0, 1], ("1", "0")),
        (np.array([-1, -1]), CLASSES, [-1, -1], CLASSES),
        (np.array([0, 1]), ("0", "1", "2"), [0, 1], ("0", "1", "2")),
        (np.array(["1", "0", "NaN", "NA", "null"]), None, [1, 0, -1, -1, -1], ("0", "1")),
        (np.array([-1, 1, -1]), ("-1", "1"), [0, 1, 0], ("-1", "1")),
        (np.array(["None", "theft"]), ("None", "theft"), [0, 1], ("None", "theft")),
        (np.array([1.0, 2.0]), ("1.0", "2.0"), [0, 1], ("1.0", "2.0")),
        (np.array(["True", "true", "FALSE", "false "]), None, [1, 1, 0, 0], ("false", "true")),
        (np.array([True, False]), None, [1, 0], ("false", "true")),
        (np.array(["true", "False", "TRUE"]), ("False", "True"), [1, 0, 1], ("False", "True")),
        (np.array(["TRUE", "false"]), CLASSES, [1, 0], CLASSES),
        (np.array(["Yes", "yes", "No"]), None, [1, 2, 0], ("No", "Yes", "yes")),
    ],
)
def test_labels_index_their_classes(
    values: np.ndarray, stated: tuple[str, ...] | None, labels: list[int], classes: tuple[str, ...]
) -> None:
    found, names, _ = encode_labels(values, stated, where="g")
    assert found.tolist() == labels
    assert found.dtype == np.int64
    assert names == classes


def test_what_counts_as_no_label_is_told() -> None:
    assert encode_labels(np.array([0, 1]), CLASSES, where="g")[2] == ()
    assert encode_labels(np.array([0, 2, 1, 2, -1]), CLASSES, where="g")[2] == (
        "g: 3 nodes without a label",
        "g: labels that are none of honest, fraud count as no label: '2' (2)",
    )
    assert encode_labels(np.array(["fraud", "True", "true"]), CLASSES, where="g")[2] == (
        "g: 2 nodes without a label",
        "g: labels that are none of honest, fraud count as no label: 'true' (2)",
    )


def test_stated_classes_that_no_label_has_are_refused() -> None:
    with pytest.raises(DataError, match="the labels are bad, good; required: names of the classes honest, fraud"):
        encode_labels(np.array(["good", "bad"]), CLASSES, where="g")
    with pytest.raises(DataError, match="the labels are 5"):
        encode_labels(np.array([5, 5]), CLASSES, where="g")


@pytest.mark.parametrize("stated", [("True", "true"), ("1", "0", "1.0")])
def test_classes_that_are_the_same_label_are_refused(stated: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=rf"the classes {stated[0]} and {stated[-1]} are the same label"):
        encode_labels(np.array(["true"]), stated, where="g")
