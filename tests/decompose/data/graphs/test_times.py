"""Times are numbers or dates, whole columns of one form, and a stream reads them as the table does."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorkit.decompose.config.graphs import TimeForm
from lorkit.decompose.data.graphs.times import LARGEST, clock_of, is_date, time_of, times_of
from lorkit.decompose.errors import DataError
from lorkit.export.serving.transactions import read_transaction

MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2099, 12, 31, 23, 59, 59)).map(
    lambda one: one.replace(microsecond=0)
)
NUMBERS = st.integers(-LARGEST, LARGEST) | st.floats(-1e12, 1e12)
FORMATS = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%SZ", "%Y%m%d%H%M%S", "%Y-%m-%dT%H:%M:%S+00:00")


def streamed(value: object, form: TimeForm | None) -> float | None:
    return read_transaction({"id": 1, "time": value}, (), (), form).time


@given(st.lists(st.tuples(MOMENTS, st.sampled_from(FORMATS)), min_size=1, max_size=20))
def test_dates_are_seconds_since_1970_in_any_form(drawn: list[tuple[datetime, str]]) -> None:
    cells = [moment.strftime(form).rjust(4, "0") for moment, form in drawn]
    found, form, _ = times_of(cells, where="t")
    wanted = [np.datetime64(moment, "s").astype(np.int64) for moment, _ in drawn]
    assert (found.tolist(), form) == (wanted, "dates")
    assert [streamed(int(cell) if cell.isdigit() else cell, "dates") for cell in cells] == wanted


@given(st.lists(NUMBERS, min_size=1, max_size=20).filter(lambda some: not all(is_digits(one) for one in some)))
def test_numbers_stay_as_they_are(numbers: list[float]) -> None:
    found, form, notices = times_of([str(one) for one in numbers], where="t")
    assert (found.tolist(), form, notices) == (numbers, "numbers", ())
    for number in numbers:
        assert streamed(number, "numbers") == streamed(str(number), "numbers") == number


def is_digits(number: float) -> bool:
    return number == int(number) and len(str(int(number))) in (8, 14)


def test_digits_are_dates_where_all_of_a_column_are() -> None:
    found, form, notices = times_of(["20240131", "20240201.0", "20240131"], where="t.csv")
    assert (np.diff(found).tolist(), form) == ([86_400, -86_400], "dates")
    assert notices == ("t.csv: times such as 20240131 are taken for dates; their unit is the second",)
    for other in ("20240230", "20241301", "18991231", "21000101", "5", "2024013"):
        found, form, notices = times_of(["20240131", other], where="t.csv")
        assert (found.tolist(), form, notices) == ([20240131.0, float(other)], "numbers", ())


@pytest.mark.parametrize(
    ("cells", "row", "said"),
    [
        (["5", "2024-01-31"], 2, "required: a number, .* in every row, as row 1 has"),
        (["2024-01-31", "5", "2024-02-01"], 2, "required: a date or time .* in every row, as row 1 has"),
        (["2024-01-31", "1706659200"], 2, "required: a date"),
        (["20240131", "2024-02-01", "5"], 2, "required: a number"),
        ([None, "5"], 1, "required: a number"),
        (["5", None], 2, "required: a number"),
        (["5", "nan"], 2, "required: a number"),
        (["5", "1e999"], 2, "required: a number"),
        (["5", "1706659200000000001"], 2, "required: a number, .* of at most 2.53, in every row; write micro"),
        (["5", "1.7066592e18"], 2, "2.53"),
        (["soon", "5"], 1, "required: a date"),
        ([None], 1, "required: a number"),
    ],
)
def test_a_cell_of_another_form_is_refused_by_row(cells: list[str | None], row: int, said: str) -> None:
    with pytest.raises(DataError, match=rf"t\.csv, row {row}: time .*{said}") as caught:
        times_of(cells, where="t.csv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("2024-01-31", "numbers"), (5, "dates"), (1706659200.5, "dates"), (LARGEST + 2, "numbers"), (1.7e18, None),
        (-(2**70), None), (True, None), (True, "numbers"), (float("nan"), "numbers"), ("soon", None), ([5], "numbers"),
        ("20240230", "dates"), ("", "dates"),
    ],
)  # fmt: skip
def test_a_stream_refuses_what_the_table_would(value: object, form: TimeForm | None) -> None:
    with pytest.raises(DataError, match=r"^time is .*required: a (number|date)"):
        streamed(value, form)


def test_a_network_of_an_older_run_takes_both() -> None:
    assert streamed("2024-01-31", None) == datetime(2024, 1, 31, tzinfo=UTC).timestamp()
    assert streamed(20240131, None) == 20240131
    assert streamed(None, "dates") is None


def test_dates_without_a_zone_are_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    noon = datetime(2024, 1, 31, 12, tzinfo=UTC).timestamp()
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        for text in ("2024-01-31T12:00:00", "2024-01-31T13:00:00+01:00", "2024-01-31T12:00:00Z", "20240131120000"):
            assert time_of(text, "dates") == noon
    time.tzset()


def test_dates_are_told_from_numbers() -> None:
    assert [is_date(text) for text in ("2024-01-31", "20240131", "12.5", "31.01.2024")] == [True, False, False, False]


@given(st.lists(st.integers(700_000_000, 1_300_000_000), min_size=1, max_size=20), st.sampled_from([0, 3, 6]))
def test_numbers_look_like_a_unit_since_1970(seconds: list[int], digits: int) -> None:
    unit = {0: "seconds", 3: "milliseconds", 6: "microseconds"}[digits]
    assert clock_of(np.array(seconds, dtype=np.float64) * 10**digits) == unit


def test_other_numbers_look_like_no_time() -> None:
    rng = np.random.default_rng(0)
    assert clock_of(np.array([20240131.0, 20240201, 19991231])) == "dates"
    assert clock_of(np.array([20240131100000.0, 20240131100001])) == "dates"
    others = [[20240131, 20240230], range(300), [600_000_000], [-5], [1706659200, 2_600_000_000], []]
    others += [rng.integers(*limits, 99).tolist() for limits in ((0, 30), (10**9, 10**10), (10**15, 10**16))]
    assert {clock_of(np.array(list(numbers), dtype=np.float64)) for numbers in others} == {""}
