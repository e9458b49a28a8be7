"""Tables as files: their columns and rows as polars reads them, and their cells as text.

polars comes with the extra `graph` and is imported where it is used.
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lorkit.decompose.data.formats.limits import check_fits
from lorkit.decompose.errors import DataError, MissingRuntimeError, first_line, reads

if TYPE_CHECKING:
    from polars import DataFrame, Series

_PARQUET = b"PAR1"
_DELIMITERS = ",;\t|"
_MOST_COLUMNS = 10_000
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]*)")
_DECIMALS = re.compile(rf"({_WHOLE.pattern})\.0+")  # how pandas writes whole numbers of a column with an empty cell


_table = reads("a CSV in UTF-8 with a header, or a Parquet file", fix="check the path, or save it again")


def load_polars() -> Any:
    """Return the module polars; raise MissingRuntimeError if it is not installed."""
    try:
        import polars
    except ImportError:
        raise MissingRuntimeError(
            "tables of a graph need polars, which is not installed",
            required="the extra 'graph'",
            fix='pip install "lorkit[graph]"',
        ) from None
    return polars


@_table
def columns_of(path: Path) -> tuple[str, ...]:
    """Return the column names of a CSV or Parquet table without reading its rows; raise DataError if it cannot."""
    if _is_parquet(path):
        return tuple(load_polars().read_parquet_schema(path))
    return _header(path)[0]


@_table
def open_table(path: Path, texts: Sequence[str]) -> DataFrame:
    """Read a CSV or Parquet table.

    Args:
        path: A file.
        texts: Columns of a CSV to read as text, so that a key 007 is not 7.

    Raises:
        DataError: It is missing or damaged.
        MissingRuntimeError: polars is not installed.
    """
    polars = load_polars()
    frame: DataFrame
    if _is_parquet(path):
        rows = int(polars.scan_parquet(path).select(polars.len()).collect().item())  # few bytes can be many rows
        check_fits(path, 8 * rows * len(polars.read_parquet_schema(path)), "its rows")
        frame = polars.read_parquet(path)
        return frame
    delimiter = _header(path)[1]
    types = dict.fromkeys(texts, polars.String)
    frame = polars.read_csv(path, separator=delimiter, infer_schema_length=None, schema_overrides=types)
    return frame


def texts_of(series: Series) -> list[str | None]:
    """Return the cells of a column as text without spaces around it, as `plain_text` has it; empty cells as None.

    Raises:
        DataError: Its cells are no texts, such as lists or bytes.
    """
    polars = load_polars()
    if series.dtype.is_float():
        # whole numbers that another library made floats because of an empty cell; each for itself, as in a stream
        kind = np.float32 if series.dtype == polars.Float32 else float
        return [None if cell is None or math.isnan(cell) else _number_text(kind(cell)) for cell in series.to_list()]
    return [plain_text(cell) if cell else None for cell in _stripped(series)]


def keys_of(series: Series, *, where: str) -> tuple[list[str | None], tuple[str, ...]]:
    """Return the keys of a column as `texts_of` does, and a notice if whole numbers are written in two forms.

    Raises:
        DataError: Its cells are no texts, or whole numbers are in two forms beside other texts: 7.0 may not be 7.
    """
    keys = texts_of(series)
    if series.dtype.is_numeric():
        return keys, ()
    written = list(dict.fromkeys(cell for cell in _stripped(series) if cell))
    forms: dict[str, str] = {}
    twice = next((one for one in written if forms.setdefault(plain_text(one), one) != one), None)
    if twice is None:
        return keys, ()
    first = forms[plain_text(twice)]
    text = next((one for one in written if not _WHOLE.fullmatch(plain_text(one))), None)
    if text is None:
        return keys, (f"{where}: keys such as {first} and {twice} are one",)
    raise DataError(
        f"{where}: the keys '{first}' and '{twice}' beside '{text}'",
        required="whole numbers in one form where other keys are texts: in a stream both would be one key",
        fix=f"write {plain_text(twice)} in every row, or a letter before keys that differ",
    )


def plain_text(text: str) -> str:
    """Return a key, label or id as it is compared: a whole number without decimals, other texts (007) as they are."""
    if not text.endswith("0") or "." not in text:  # most are not looked at twice
        return text
    found = _DECIMALS.fullmatch(text)
    if found is None:
        return text
    return "0" if found[1] == "-0" else found[1]


def _stripped(series: Series) -> list[str | None]:
    """Return the cells as text without spaces around it, which are those of Python, as in a stream."""
    polars = load_polars()
    try:
        cells = series.cast(polars.String).to_list()
    except polars.exceptions.PolarsError as error:
        raise DataError(
            f"the column '{series.name}' of type {series.dtype} holds no texts ({first_line(error)})",
            required="texts, numbers or dates",
            fix="save it as text, or name another column",
        ) from None
    return [None if cell is None else cell.strip() for cell in cells]


def _number_text(value: float | np.float32) -> str:
    return str(int(value)) if value.is_integer() else str(value)


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(_PARQUET)) == _PARQUET


def _header(path: Path) -> tuple[tuple[str, ...], str]:
    """Return the column names of a CSV, and what parts its cells: the most frequent candidate in the header."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        line = stream.readline()
        delimiter = max(_DELIMITERS, key=line.count)
        columns = tuple(next(csv.reader([line], delimiter=delimiter), []))
    if len(columns) > _MOST_COLUMNS:
        raise DataError(
            f"{path} has {len(columns)} columns", required=f"at most {_MOST_COLUMNS}", fix="leave out others"
        )
    twice = next((name for name, count in Counter(columns).items() if count > 1), None)
    if twice is not None:
        raise DataError(f"{path} has two columns '{twice}'", required="each column once", fix="rename one")
    return columns, delimiter
