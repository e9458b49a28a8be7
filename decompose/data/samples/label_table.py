"""Tables of labels for multilabel regions: any number of labels may apply to an image, and some may be unknown.

Shapes: N samples, L labels; a table is (N, L) int64 of 1 (positive), 0 (negative) and -1 (uncertain or not stated).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.errors import DataError

POSITIVE, NEGATIVE, UNCERTAIN = 1, 0, -1
MULTILABEL = "multilabel"
Table = NDArray[np.int64]


def to_table(values: NDArray[Any], origin: str) -> Table:
    """Return an array (N, L) or (N,) of Booleans or numbers as a table; NaN is uncertain.

    Raises:
        DataError: A value is not 0, 1, -1 or NaN.
    """
    columns = values[:, None] if values.ndim == 1 else values
    if columns.ndim != 2 or columns.dtype.kind not in "buif":
        raise DataError(
            f"{origin}: labels of shape {values.shape} and dtype {values.dtype}",
            required="(N, L) numbers: 1 positive, 0 negative, -1 or NaN uncertain",
            fix="save one column per label",
        )
    filled = np.nan_to_num(columns.astype(np.float64), nan=UNCERTAIN)
    wrong = np.argwhere(~np.isin(filled, (POSITIVE, NEGATIVE, UNCERTAIN)))
    if len(wrong):
        row, column = wrong[0].tolist()
        raise DataError(
            f"{origin}: value {columns[row, column]} of label {column} in sample {row + 1}",
            required="1 (positive), 0 (negative), -1 or NaN (uncertain)",
            fix="correct it",
        )
    return filled.astype(np.int64)


def is_table(values: NDArray[Any]) -> bool:
    """Return whether an array holds several labels per sample."""
    return values.ndim == 2 and values.shape[1] > 1


def choose_columns(table: Table, names: Sequence[str], wanted: Sequence[str], where: str) -> Table:
    """Return the columns of the wanted labels, in their order.

    Raises:
        DataError: A label is not among the names.
    """
    for name in wanted:
        if name not in names:
            raise DataError(
                f"{where} has no label '{name}'",
                required=f"some of {', '.join(names)}",
                fix="correct the region's classes",
            )
    return table[:, [list(names).index(name) for name in wanted]]


def check_both_answers(table: Table, names: Sequence[str], where: str) -> None:
    """Raise DataError for a label without a positive or without a negative sample, which cannot be learned."""
    for name, label_N in zip(names, table.T, strict=True):
        for value, word in ((POSITIVE, "positive"), (NEGATIVE, "negative")):
            if not (label_N == value).any():
                raise DataError(
                    f"label '{name}' of {where} has no {word} sample",
                    required="at least one positive and one negative sample of every label",
                    fix="add samples, or leave the label out of the region's classes",
                )


def describe_row(names: Sequence[str], row_L: Sequence[int]) -> str:
    """Return the labels of a sample as text, such as `effusion=1,nodule=0`."""
    return ",".join(f"{name}={value}" for name, value in zip(names, row_L, strict=True))


def exclusive_notice(table: Table) -> tuple[str, ...]:
    """Say so where every sample has exactly one positive label: these may be classes that exclude each other."""
    if table.shape[1] < 3 or (table == UNCERTAIN).any() or not (table.sum(1) == 1).all():
        return ()
    return (
        "every image has exactly one positive label: if the labels exclude each other, save the index of the class "
        "as labels (N,), which makes it a classification",
    )
