"""Entries hold the exact numbers, and what is no entry is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streams import CLASSES, node_input

from lorkit.decompose.errors import ArtifactError
from lorkit.export.serving.counters import Layout
from lorkit.export.serving.entries import cells_of, keys_text, row_of, sums_of, values_cell

LAYOUT = Layout.of(node_input(), CLASSES)
VALUES = np.array([1 / 3, -1e-45], dtype=np.float32)


@given(
    st.lists(st.floats(allow_nan=False), min_size=18, max_size=18),
    st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2),
)
def test_numbers_and_texts_come_back_to_the_last_bit(numbers: list[float], keys: list[str | None]) -> None:
    sums = np.array(numbers).reshape(2, 3, 3)
    cells = cells_of(sums)
    assert cells == [one.astype("<f8").tobytes() for one in sums]
    np.testing.assert_array_equal(
        sums_of([cells[1], None, cells[0]], LAYOUT, "s"), [sums[1], np.zeros((3, 3)), sums[0]]
    )
    assert keys_text(keys) == json.dumps(keys, ensure_ascii=False)
    row = row_of(LAYOUT, "s", keys_text(keys), values_cell(VALUES), 1.5, 1, None)
    assert (row.keys, row.time, row.label, row.score) == (tuple(keys), 1.5, 1, None)
    np.testing.assert_array_equal(row.values_F, VALUES)


def test_sums_that_are_read_can_be_changed() -> None:
    sums_of([None], LAYOUT, "s")[:] = 1


@pytest.mark.parametrize("cell", [b"", bytes(71), bytes(80), "text of 72 characters".ljust(72), 7])
def test_sums_of_another_size_are_refused(cell: Any) -> None:
    with pytest.raises(ArtifactError, match=r"s is damaged.*another size"):
        sums_of([bytes(72), cell], LAYOUT, "s")


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, None), (0, "["), (0, "[" * 100_000), (0, '["a"]'), (0, '["a", 1]'), (0, '{"a": 1}'), (1, bytes(7)),
        (1, None), (2, "soon"), (3, 2), (3, -2), (3, None), (4, 7),
    ],
)  # fmt: skip
def test_an_entry_that_is_no_row_is_refused(at: int, value: Any) -> None:
    cells: list[Any] = ['["a", null]', bytes(8), None, -1, None]
    row_of(LAYOUT, "s", *cells)
    cells[at] = value
    with pytest.raises(ArtifactError, match="s is damaged"):
        row_of(LAYOUT, "s", *cells)
