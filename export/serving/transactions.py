"""Rows of a stream as they arrive: an object of columns, checked and turned into keys, numbers and a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.data.graphs.table_files import seconds_of
from lorkit.decompose.errors import DataError

ID, TIME, LABEL = "id", "time", "label"
Event = Mapping[str, Any]
"""One object of the stream by column."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Transaction:
    """A row to score.

    Attributes:
        id: Its name.
        keys: Key by relation, None without one.
        features_F: (F,) raw features, finite.
        time: As a number, None if it has none.
    """

    id: str
    keys: tuple[str | None, ...]
    features_F: Float32Array
    time: float | None = None


def is_label(event: Event, relations: Sequence[str], features: Sequence[str]) -> bool:
    """Return whether an object tells the label of an earlier row: it has one, and no column of a row."""
    return LABEL in event and not any(name in event for name in (*relations, *features) if name != LABEL)


def read_transaction(event: Event, relations: Sequence[str], features: Sequence[str]) -> Transaction:
    """Return a row of the stream; columns that the network does not use are ignored.

    Raises:
        DataError: It has no id, lacks a column, has a key, feature or time that is none, or holds a label.
    """
    name = read_id(event)
    missing = next((one for one in (*relations, *features) if one not in event), None)
    if missing is not None:
        raise DataError(
            f"no column '{missing}'",
            required=f"{', '.join((ID, *relations, *features))}",
            fix="add it; null is a row without a key",
        )
    if LABEL in event and LABEL not in (*relations, *features):
        raise DataError(
            "a label in the row that it belongs to",
            required="an object of its own, with id and label",
            fix="send it after the row, when it is known",
        )
    keys = tuple(_key(one, event[one]) for one in relations)
    return Transaction(id=name, keys=keys, features_F=_numbers(event, features), time=_time(event.get(TIME)))


def read_id(event: Event) -> str:
    """Return the id of an object; raise DataError if it has none."""
    found = text_of(event.get(ID))
    if found is None:
        raise DataError("no id", required=f"a text or whole number as '{ID}'", fix="add it")
    return found


def text_of(value: object) -> str | None:
    """Return a key, id or label as text, as a table with the same cell has it; None for null, spaces and no cell."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    text = str(value).strip()
    return text if text and _is_unicode(text) else None


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= sign <= "\udfff" for sign in text)  # halves of a pair, which JSON allows


def _key(name: str, value: object) -> str | None:
    found = text_of(value)
    if found is None and value is not None and not (isinstance(value, str) and not value.strip()):
        raise DataError(f"'{name}' is {_shown(value)}", required="a text, a number or null", fix="correct it")
    return found


def _numbers(event: Event, names: Sequence[str]) -> Float32Array:
    """Return the features (F,) in the precision in which a graph holds them."""
    values = [event[name] for name in names]
    if all(isinstance(value, int | float) for value in values):
        with suppress(OverflowError), np.errstate(over="ignore"):
            found_F: Float32Array = np.array(values, dtype=np.float64).astype(np.float32)
            if np.isfinite(found_F).all():
                return found_F
    wrong = next(name for name, value in zip(names, values, strict=True) if not _is_number(value))
    raise DataError(f"feature '{wrong}' is {_shown(event[wrong])}", required="a finite number", fix="fill it in")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) <= float(np.finfo(np.float32).max)


def _time(value: object) -> float | None:
    if value is None:
        return None
    try:
        found = seconds_of(str(value)) if isinstance(value, str | int | float) else np.nan
    except (ValueError, OverflowError):
        found = np.nan
    if not np.isfinite(found):
        raise DataError(
            f"{TIME} is {_shown(value)}",
            required="a number, or a date or time as 2024-01-31T10:00:00",
            fix="correct it, or leave it out",
        )
    return float(found)


def _shown(value: object) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
