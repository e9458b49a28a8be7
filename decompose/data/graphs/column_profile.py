"""The values of a column in numbers: what they are, how many, how often the most frequent one, and in which order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from lorkit.decompose.data.graphs.table_files import load_polars, texts_of
from lorkit.decompose.data.graphs.times import LARGEST, clock_of, is_date

if TYPE_CHECKING:
    from polars import Series

Kind = Literal["text", "date", "whole", "number", "truth", "other"]
_LARGEST = float(np.finfo(np.float32).max)
_FEW = 50
"""Values whose texts are kept, and that are tried as dates."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One column.

    Attributes:
        kind: Text, dates, whole numbers (also as floats), other numbers, true and false, or something else.
        rows: Number of rows.
        filled: Rows with a value.
        distinct: Different values.
        most: Rows with the most frequent value.
        ascending: Whether no value is below the one before.
        unusable: Rows whose value is no finite number; 0 for other kinds.
        words: Rows by value as text, if there are few values; else empty.
        clock: What whole numbers look like as times, see `clock_of`; "" if they look like none.
        too_large: Whether a value is above what times may be.
        consecutive: Whether each value is the one before and 1, as of row numbers.
    """

    kind: Kind
    rows: int
    filled: int
    distinct: int
    most: int
    ascending: bool
    unusable: int
    words: Mapping[str, int]
    clock: str = ""
    too_large: bool = False
    consecutive: bool = False

    @property
    def is_numeric(self) -> bool:
        """Whether a reader of tables would take it as a feature."""
        return self.kind in ("whole", "number", "truth")


def profile(series: Series) -> Profile:
    """Describe the values of a column."""
    polars = load_polars()
    kind = _kind(series)
    rows = len(series)
    if kind == "other":
        return Profile(kind=kind, rows=rows, filled=rows, distinct=0, most=0, ascending=False, unusable=0, words={})
    texts = polars.Series(texts_of(series), dtype=polars.String)
    counts = texts.drop_nulls().value_counts(sort=True)
    values = None
    if kind in ("whole", "number", "truth"):
        values = series.cast(polars.Float64).fill_null(float("nan")).to_numpy()
    return Profile(
        kind=kind,
        rows=rows,
        filled=rows - texts.null_count(),
        distinct=len(counts),
        most=int(counts["count"][0]) if len(counts) else 0,
        ascending=bool((np.diff(values) >= 0).all()) if values is not None else _ascend(series, kind),
        unusable=0 if values is None else int((~(np.abs(values) <= _LARGEST)).sum()),
        words=dict(counts.rows()) if len(counts) <= _FEW else {},
        clock=clock_of(values) if kind == "whole" and values is not None and np.isfinite(values).all() else "",
        too_large=values is not None and bool((np.abs(values) > LARGEST).any()),
        consecutive=values is not None and bool((np.diff(values) == 1).all()),
    )


def _kind(series: Series) -> Kind:
    polars = load_polars()
    dtype = series.dtype
    if dtype in (polars.Date, polars.Datetime):
        return "date"
    if dtype == polars.Boolean:
        return "truth"
    if dtype.is_integer():
        return "whole"
    if dtype.is_float():
        finite = series.is_finite().fill_null(False)
        used = series.filter(finite)
        return "whole" if len(used) and bool((used == used.round()).all()) else "number"
    if dtype.is_numeric():
        return "number"
    if dtype in (polars.String, polars.Categorical, polars.Enum):
        sample = [text for text in texts_of(series.drop_nulls().unique(maintain_order=True).head(_FEW)) if text]
        return "date" if sample and all(is_date(text) for text in sample) else "text"
    return "other"


def _ascend(series: Series, kind: Kind) -> bool:
    """Return whether dates do not fall; their texts sort as they do where all have one form."""
    return kind == "date" and bool(series.is_sorted())
