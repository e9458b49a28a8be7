import numpy as np
import pytest

from lorkit.decompose.data.samples import label_table
from lorkit.decompose.errors import DataError


def test_numbers_booleans_and_nan_become_a_table() -> None:
    given = np.array([[1.0, 0.0], [-1.0, np.nan]])
    np.testing.assert_array_equal(label_table.to_table(given, "x"), [[1, 0], [-1, -1]])
    np.testing.assert_array_equal(label_table.to_table(np.array([True, False]), "x"), [[1], [0]])


@pytest.mark.parametrize("value", [2, 0.5, -2, np.inf])
def test_another_value_is_refused_with_its_place(value: float) -> None:
    with pytest.raises(DataError, match="label 1 in sample 2"):
        label_table.to_table(np.array([[0, 1], [1, value]]), "x")


def test_text_and_cubes_are_no_labels() -> None:
    for wrong in (np.array([["yes"]]), np.zeros((2, 2, 2))):
        with pytest.raises(DataError, match="one column per label"):
            label_table.to_table(wrong, "x")


def test_columns_are_chosen_by_name_and_in_the_wanted_order() -> None:
    table = np.array([[1, 0, -1]])
    np.testing.assert_array_equal(label_table.choose_columns(table, ("a", "b", "c"), ("c", "a"), "x"), [[-1, 1]])
    with pytest.raises(DataError, match="no label 'd'"):
        label_table.choose_columns(table, ("a", "b", "c"), ("d",), "x")


@pytest.mark.parametrize(("column", "word"), [([1, 1, -1], "negative"), ([0, -1, 0], "positive")])
def test_a_label_with_one_answer_is_refused(column: list[int], word: str) -> None:
    table = np.array([[0, 1, 0], column]).T
    with pytest.raises(DataError, match=f"label 'b' of region 'r' has no {word} sample"):
        label_table.check_both_answers(table, ("a", "b"), "region 'r'")


def test_one_label_per_image_looks_like_exclusive_classes() -> None:
    assert "exclude each other" in label_table.exclusive_notice(np.eye(3, dtype=np.int64))[0]
    assert not label_table.exclusive_notice(np.array([[1, 1, 0], [0, 1, 0]]))
    assert not label_table.exclusive_notice(np.array([[1, 0], [0, 1]]))
