"""Which labels a node sees, and what an empty group is."""

from __future__ import annotations

import numpy as np

from lorkit.decompose.data.graphs.groups import mean_and_size, views

VISIBLE, FOLDS = np.array([0, 1, -1, 0]), np.array([5, 9, 5, 9])


def test_without_folds_there_is_one_view() -> None:
    ((places, groups),) = views(VISIBLE, 2, np.array([3, 0]), None)
    assert places == slice(0, 2)
    assert groups.tolist() == [0, 1, 2, 0]


def test_a_view_of_each_fold_hides_its_labels() -> None:
    nodes = np.array([3, 0, 1])
    found = [(np.arange(3)[places].tolist(), groups.tolist()) for places, groups in views(VISIBLE, 2, nodes, FOLDS)]
    assert found == [([1], [2, 1, 2, 0]), ([0, 2], [0, 2, 2, 2])]


def test_rounding_left_in_an_empty_group_is_not_written() -> None:
    found = mean_and_size(np.array([[1e-17], [6.0]]), np.array([0, 2]), np.array([0, 3]))
    np.testing.assert_allclose(found, [[0, 0], [3, np.log(4)]], rtol=1e-12)
    np.testing.assert_allclose(mean_and_size(np.array([[6.0]]), np.array([2])), [[3, np.log(3)]], rtol=1e-12)
