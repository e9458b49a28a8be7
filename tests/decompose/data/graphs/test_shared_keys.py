"""Sums by key, whole and in the order of arrival."""

from __future__ import annotations

import numpy as np

from lorkit.decompose.data.graphs.shared_keys import Stream, key_groups, key_members, key_sums

KEYS = np.array([1, -1, 1, 0, 1, -1])
FEATURES = np.array([[1.0], [2.0], [4.0], [8.0], [16.0], [32.0]])
GROUPS = np.array([0, 0, 1, 2, 2, 1])
TIMES = np.array([5.0, 0.0, 3.0, 1.0, 5.0, 9.0])


def rows(found: object) -> list[list[float]]:
    return [sums[:, 0].tolist() for _, sums, _ in found]  # type: ignore[attr-defined]


def test_a_node_is_moved_from_its_class_to_the_others() -> None:
    found = list(key_groups(KEYS, FEATURES, GROUPS, 2, np.arange(6)))
    assert [rows_MD[:, 0].tolist() for _, rows_MD in found] == [
        [0, 0, 1, 0, 1, 0],
        [4, 0, 0, 0, 4, 0],
        [8.5, 2, 10, 8, 16, 32],
    ]
    sizes = [np.expm1(rows_MD[:, 1]).round(4).tolist() for _, rows_MD in found]
    assert sizes == [[0, 0, 1, 0, 1, 0], [1, 0, 0, 0, 1, 0], [2, 1, 2, 1, 1, 1]]


def test_nodes_without_a_key_are_alone() -> None:
    found = key_members(KEYS, FEATURES, np.array([5, 0, 1]))
    np.testing.assert_allclose(found, [[32, 0], [7, np.log(3)], [2, 0]], rtol=1e-6)


def test_sums_by_key_of_some_nodes() -> None:
    sums, counts = key_sums(KEYS, FEATURES, np.array([4, 2, 3]), 3)
    assert sums[:, 0].tolist() == [8, 20, 0]
    assert counts.tolist() == [1, 2, 0]


def test_a_stream_holds_what_came_before() -> None:
    """Of key 1 the nodes come as 2, 0, 4, the last two at one time."""
    assert rows(Stream.of(KEYS, TIMES, 0).group_sums(FEATURES, GROUPS, 2)) == [
        [0, 0, 0, 0, 1, 0],
        [4, 0, 0, 0, 4, 0],
        [0, 0, 0, 0, 0, 0],
    ]
    assert rows(Stream.of(KEYS, TIMES, 2).group_sums(FEATURES, GROUPS, 2)) == [
        [0, 0, 0, 0, 0, 0],
        [4, 0, 0, 0, 4, 0],
        [0, 0, 0, 0, 1, 0],
    ]
    sums, counts = Stream.of(KEYS, TIMES, 0).members(FEATURES)
    assert sums[:, 0].tolist() == [5, 2, 4, 8, 21, 32]
    assert counts.tolist() == [2, 1, 1, 1, 3, 1]


def test_a_small_key_does_not_lose_digits_after_a_large_one() -> None:
    """A running sum over all keys would hold the second key beside 1e18."""
    keys, features = np.array([0, 0, 1, 1, 1]), np.array([[1e18], [1e18], [0.1], [0.2], [0.4]])
    np.testing.assert_allclose(key_members(keys, features, np.array([4]))[0, 0], 0.7 / 3, rtol=1e-6)
    np.testing.assert_allclose(Stream.of(keys, np.arange(5.0), 0).members(features)[0][4], 0.7, rtol=1e-12)
