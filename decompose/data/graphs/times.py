"""Times of rows: numbers as they are, or dates as seconds since 1970; a column, and the stream after it, has one form.

Whole numbers are at most 2^53, the largest that float64 tells from their neighbours; nanoseconds since 1970 are larger.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from lorkit.decompose.artifacts.arrays import Floats
from lorkit.decompose.config.graphs import TimeForm
from lorkit.decompose.errors import DataError

LARGEST = 2**53
REQUIRED: dict[TimeForm, str] = {
    "numbers": "a number, a whole one of at most 2^53",
    "dates": "a date or time as 2024-01-31T10:00:00 or 20240131",
}
_DIGITS = re.compile(r"(\d{8})(\d{6})?(?:\.0*)?")
_YEARS = range(1900, 2100)
_CLOCKS = {"seconds": 1e0, "milliseconds": 1e3, "microseconds": 1e6}
_SINCE_1970 = tuple((year - 1970) * 365.25 * 86_400 for year in (1990, 2100))
_SPAN = 25 * 365.25 * 86_400  # numbers of accounts, which are as long, are spread more widely


def time_of(text: str | None, form: TimeForm | None = None) -> float:
    """Return a time as a number, dates as seconds since 1970 (in UTC if they do not say).

    Args:
        text: A number, a date or time in ISO 8601, or its digits alone (20240131, 20240131100000).
        form: What it must be; None takes digits for a number, and dates too.

    Raises:
        ValueError: It is not of the form, not finite, or a number above 2^53.
    """
    if text is None:
        raise ValueError("no time")
    if form != "dates" and is_number(text):
        found = float(text)
        if not math.isfinite(found) or abs(found) > LARGEST:
            raise ValueError("no number that float64 holds")
        return found
    digits = _date_of_digits(text)
    if form == "numbers" or (digits is None and is_number(text)):
        raise ValueError("of another form")
    moment = digits or datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def times_of(cells: Sequence[str | None], *, where: str) -> tuple[Floats, TimeForm, tuple[str, ...]]:
    """Return the times (N,) of a column, their form, and a notice if dates are written as digits.

    The first cell decides on numbers or dates; a column of numbers is one of dates if the digits of all of them are.

    Args:
        cells: (N,) as text.
        where: File, for messages.

    Raises:
        DataError: A cell is empty or no time of that form.
    """
    given = [cell for cell in cells if cell is not None]
    digits = [cell for cell in given if is_number(cell) and _date_of_digits(cell) is not None]
    dated = bool(given) and (not is_number(given[0]) or len(digits) == sum(map(is_number, given)))
    form: TimeForm = "dates" if dated else "numbers"
    times = np.empty(len(cells))
    for row, cell in enumerate(cells):
        try:
            times[row] = time_of(cell, form)
        except ValueError:
            raise _wrong(cells, row, form, where) from None
    if not dated or not digits:
        return times, form, ()
    return times, form, (f"{where}: times such as {digits[0]} are taken for dates; their unit is the second",)


def clock_of(values_N: Floats) -> str:
    """Return what whole numbers look like: dates as digits, or a unit since 1970, "seconds" and so on; "" for neither.

    Args:
        values_N: (N,) finite numbers.
    """
    if not len(values_N):
        return ""
    low, high = float(values_N.min()), float(values_N.max())
    for unit, per_second in _CLOCKS.items():
        if _SINCE_1970[0] <= low / per_second <= high / per_second <= _SINCE_1970[1]:
            return unit if (high - low) / per_second <= _SPAN else ""
    if not 19000101 <= low <= high <= 20991231235959:
        return ""
    return "dates" if all(_date_of_digits(f"{one:.0f}") for one in np.unique(values_N).tolist()) else ""


def is_number(text: str) -> bool:
    """Return whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_date(text: str) -> bool:
    """Return whether a text is a date, and no number."""
    try:
        time_of(text)
    except ValueError:
        return False
    return not is_number(text)


def _date_of_digits(text: str) -> datetime | None:
    """Return the date that 8 digits are, or the time that 14 are; None if they are none of 1900 to 2099."""
    found = _DIGITS.fullmatch(text.strip())
    if found is None or int(found[1][:4]) not in _YEARS:
        return None
    try:
        return datetime.fromisoformat(found[1] if found[2] is None else f"{found[1]}T{found[2]}")
    except ValueError:
        return None


def _wrong(cells: Sequence[str | None], row: int, form: TimeForm, where: str) -> DataError:
    text = cells[row] or ""
    large = form == "numbers" and is_number(text) and LARGEST < abs(float(text)) < math.inf
    first = next(at for at, cell in enumerate(cells) if cell is not None) if any(cells) else row
    others = f", as row {first + 1} has" if first < row and text and not large else ""
    return DataError(
        f"{where}, row {row + 1}: time '{text}'",
        required=f"{REQUIRED[form]}, in every row{others}",
        fix="write microseconds or dates" if large else "correct the row, or remove it",
    )
