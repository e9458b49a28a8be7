"""Rows of a stream as they arrive: an object of columns, checked and turned into keys, numbers and a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lorkit.decompose.config.graphs import TimeForm
from lorkit.decompose.data.graphs.table_files import plain_text
from lorkit.decompose.data.graphs.times import REQUIRED, time_of
from lorkit.decompose.errors import DataError

ID, TIME, LABEL = "id", "time", "label"
_LARGEST = float(np.finfo(np.float32).max)
Event = Mapping[str, Any]
"""One object of the stream by column."""


@dataclass(slots=True, eq=False)
class Transaction:
    """A row to score.

    Attributes:
        id: Its name.
        keys: Key by relation, None without one.
        features: F raw numbers that are finite as float32.
        time: As a number, None if it has none.
    """

    id: str
    keys: tuple[str | None, ...]
    features: tuple[float, ...]
    time: float | None = None


def is_label(event: Event, relations: Sequence[str], features: Sequence[str]) -> bool:
    """Return whether an object tells the label of an earlier row: it has one, and no column of a row."""
    return LABEL in event and not any(name in event for name in (*relations, *features) if name != LABEL)


def read_transaction(
    event: Event, relations: Sequence[str], features: Sequence[str], times: TimeForm | None = None
) -> Transaction:
    """Return a row of the stream; columns that the network does not use are ignored.

    Args:
        event: The row.
        relations: Columns of entities.
        features: Columns of numbers.
        times: What a time must be; None takes numbers and dates.

    Raises:
        DataError: It has no id, lacks a column, has a key, feature or time that is none, or holds a label.
    """
    name = read_id(event)
    try:
        keys = [event[one] for one in relations]
        values = [event[one] for one in features]
    except KeyError:
        missing = next(one for one in (*relations, *features) if one not in event)
        raise DataError(
            f"no column '{missing}'",
            required=f"{', '.join((ID, *relations, *features))}",
            fix="add it; null is a row without a key",
        ) from None
    if LABEL in event and LABEL not in (*relations, *features):
        raise DataError(
            "a label in the row that it belongs to",
            required="an object of its own, with id and label",
            fix="send it after the row, when it is known",
        )
    texts = tuple([text_of(key) for key in keys])
    if None in texts:
        _check_keys(relations, keys)
    return Transaction(name, texts, _numbers(features, values), _time(event.get(TIME), times))


def read_id(event: Event) -> str:
    """Return the id of an object; raise DataError if it has none."""
    found = text_of(event.get(ID))
    if found is None:
        raise DataError("no id", required=f"a text or whole number as '{ID}'", fix="add it")
    return found


def text_of(value: object) -> str | None:
    """Return a key, id or label as text, as a table with the same cell has it; None for null, spaces and no cell."""
    if not isinstance(value, str):
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int | float) or (isinstance(value, float) and not math.isfinite(value)):
            return None
        value = str(value)
    text = value.strip()
    return plain_text(text) if text and (text.isascii() or _is_unicode(text)) else None


def _is_unicode(text: str) -> bool:
    """Return whether a text has no halves of a pair, which JSON allows."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_keys(names: Sequence[str], values: Sequence[object]) -> None:
    """Raise DataError unless each value is a key, null or an empty text."""
    for name, value in zip(names, values, strict=True):
        if text_of(value) is None and value is not None and not (isinstance(value, str) and not value.strip()):
            raise DataError(f"'{name}' is {_shown(value)}", required="a text, a number or null", fix="correct it")


def _numbers(names: Sequence[str], values: Sequence[object]) -> tuple[float, ...]:
    for name, value in zip(names, values, strict=True):
        if not isinstance(value, int | float) or not -_LARGEST <= value <= _LARGEST:
            raise DataError(f"feature '{name}' is {_shown(value)}", required="a finite number", fix="fill it in")
    return tuple(values)  # type: ignore[arg-type]


def _time(value: object, form: TimeForm | None) -> float | None:
    """Return a time as a table with the same cell has it; None without one."""
    if value is None:
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(value)
        return time_of(text_of(value), form)
    except (ValueError, OverflowError):
        raise DataError(
            f"{TIME} is {_shown(value)}",
            required=" or ".join(REQUIRED.values()) if form is None else f"{REQUIRED[form]}, as in training",
            fix="correct it, or leave it out",
        ) from None


def _shown(value: object) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
