"""Further columns of a source: sex, age band, scanner, site. They are never an input of a network.

A column has a text per sample. The gate judges subgroups by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from lorkit.decompose.errors import UsageError

Columns: TypeAlias = Mapping[str, tuple[str, ...]]
MOST_VALUES = 20
_EMPTY = "(empty)"


def join_columns(parts: Sequence[tuple[Columns, int]]) -> Columns:
    """Join the columns of several sources, each with its number of samples; missing values are empty."""
    names = dict.fromkeys(name for columns, _ in parts for name in columns)
    return {
        name: tuple(value for columns, count in parts for value in columns.get(name, ("",) * count)) for name in names
    }


def take_columns(columns: Columns, indices: Sequence[int]) -> Columns:
    """Return the columns of the samples at `indices`, in that order."""
    return {name: tuple(values[index] for index in indices) for name, values in columns.items()}


def subgroups(columns: Columns, name: str, origin: str) -> dict[str, list[int]]:
    """Return the samples of each value of a column; an empty cell is a value of its own.

    Raises:
        UsageError: There is no such column, or it has too many values for subgroups.
    """
    if name not in columns:
        raise UsageError(
            f"--subgroup {name}: no such column in {origin}",
            required=f"one of {', '.join(columns)}" if columns else "a CSV or .npz with a column beside the labels",
            fix="name another, or judge with --data a file that has it",
        )
    found: dict[str, list[int]] = {}
    for index, value in enumerate(columns[name]):
        found.setdefault(value.strip() or _EMPTY, []).append(index)
    if len(found) > MOST_VALUES:
        raise UsageError(
            f"--subgroup {name}: {len(found)} different values in {origin}",
            required=f"at most {MOST_VALUES}",
            fix="group numbers into ranges, such as 0-17, 18-64, 65+, in another column",
        )
    return dict(sorted(found.items()))
