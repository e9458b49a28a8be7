"""Columns in numbers, against counts of the cells."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pl = pytest.importorskip("polars", reason="the extra 'graph' is not installed")

from lorkit.decompose.data.graphs.column_profile import profile  # noqa: E402


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["a", "b", None], "text"),
        (["007", "x"], "text"),
        (["2024-01-31", "2024-02-01T10:00:00"], "date"),
        (["2024-01-31", "soon"], "text"),
        (["1.5", "2.5"], "text"),
        ([datetime(2024, 1, 1), datetime(2024, 1, 2)], "date"),
        ([1, 2], "whole"),
        ([1.0, None, 3.0], "whole"),
        ([1.5, 2.0], "number"),
        ([None, float("nan")], "number"),
        ([True, None], "truth"),
        ([[1], [2]], "other"),
        ([timedelta(seconds=1)], "other"),
        ([b"a"], "other"),
        ([None, None], "other"),
    ],
)
def test_kinds(cells: list[Any], kind: str) -> None:
    assert profile(pl.Series(cells)).kind == kind


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(-3, 3)), min_size=1, max_size=30), st.booleans())
def test_numbers_are_counted(cells: list[int | None], text: bool) -> None:
    typed = [None if cell is None else f"v{cell}" for cell in cells] if text else cells
    found = profile(pl.Series(typed, dtype=pl.String if text else pl.Int64))
    present = [str(cell) for cell in typed if cell is not None]
    counts = Counter(present)
    assert (found.rows, found.filled, found.distinct) == (len(cells), len(present), len(counts))
    assert found.most == max(counts.values(), default=0)
    assert found.words == counts
    if not text:
        assert found.unusable == cells.count(None)
        assert found.ascending == (None not in cells and sorted(cells) == cells if len(cells) > 1 else True)  # type: ignore[type-var]


def test_values_that_no_network_takes_are_counted() -> None:
    found = profile(pl.Series([1.5, float("nan"), float("inf"), 1e300, None]))
    assert (found.unusable, found.is_numeric) == (4, True)
    assert not profile(pl.Series(["a"])).is_numeric


def test_many_values_are_not_listed() -> None:
    assert profile(pl.Series(list(range(51)))).words == {}
    assert len(profile(pl.Series(list(range(50)))).words) == 50


def test_whole_numbers_may_be_times() -> None:
    days = profile(pl.Series([20240131, 20240201, 20240203]))
    assert (days.clock, days.too_large, days.consecutive) == ("dates", False, False)
    assert profile(pl.Series([1706659200, None])).clock == ""
    assert profile(pl.Series([1706659200.5])).clock == ""
    nanoseconds = profile(pl.Series([1706659200000000000, 1706659200000000001]))
    assert (nanoseconds.clock, nanoseconds.too_large) == ("", True)
    assert profile(pl.Series([7, 8, 9])).consecutive
