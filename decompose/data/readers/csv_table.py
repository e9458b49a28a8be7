"""Tables as text, as spreadsheets write them: comma, semicolon, tab or bar, with or without a byte order mark."""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from lorkit.decompose.errors import DataError, reads

_DELIMITERS = ",;\t|"
_MOST_COLUMNS = 10_000
_STATED = re.compile(r"sep=([,;\t|])\s*$")


class Table(NamedTuple):
    """A table: its columns in lower case, and its rows, each with the number of its line."""

    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]


@reads("CSV in UTF-8", fix="save it again")
def read_table(path: Path) -> Table:
    """Read a table with a header; cells are stripped, a missing cell is empty, and empty lines are left out.

    Raises:
        DataError: The file is missing, not UTF-8 text, names a column twice, or a row has more cells than the header.
    """
    with path.open(encoding=_encoding(path), newline="") as stream:
        header = stream.readline()
        stated = _STATED.match(header)  # Excel's line `sep=;`
        if stated is None:
            stream.seek(0)
        delimiter = stated.group(1) if stated else _delimiter(header)
        reader = csv.reader(stream, strict=True, delimiter=delimiter)
        columns = tuple(text.strip().lower() for text in next(reader, []))
        skipped = 1 if stated else 0
        if len(columns) > _MOST_COLUMNS:
            raise DataError(
                f"{path} has {len(columns)} columns", required=f"at most {_MOST_COLUMNS}", fix="leave out others"
            )
        rows = [(reader.line_num + skipped, [cell.strip() for cell in cells]) for cells in reader if cells]
    twice = next((name for name, count in Counter(columns).items() if name and count > 1), None)
    if twice is not None:
        raise DataError(f"{path} has two columns '{twice}'", required="each column once", fix="rename one")
    for line, cells in rows:
        if len(cells) > len(columns):
            raise DataError(
                f"{path}, line {line}: too many cells", required="one cell per column", fix="correct the line"
            )
    return Table(columns, tuple((line, dict(zip(columns, [*cells, *[""] * (len(columns) - len(cells))], strict=True)))
                                for line, cells in rows))  # fmt: skip


def in_header(path: Path, word: str) -> bool:
    """Return whether a word is in the first two lines of a file, in any spelling; the first may be Excel's `sep=;`."""
    try:  # boundary: whoever reads the table says what is wrong with it
        with path.open(encoding=_encoding(path), errors="replace", newline="") as stream:
            return any(word in stream.readline(1 << 20).lower() for _ in range(2))
    except OSError:
        return False


def _delimiter(header: str) -> str:
    """Return the letter that parts the titles: one that sets `path` apart, since a title can hold commas."""
    outside = re.sub(r'"[^"]*"', lambda quoted: re.sub(f"[{_DELIMITERS}]", " ", quoted.group()), header.lower())
    apart = {letter: "path" in (title.strip(' "\r\n') for title in outside.split(letter)) for letter in _DELIMITERS}
    return max(_DELIMITERS, key=lambda letter: (apart[letter], outside.count(letter)))


def _encoding(path: Path) -> str:
    """Return UTF-16 for the text that spreadsheets write under the name of Unicode, by its byte order mark."""
    with path.open("rb") as stream:
        return "utf-16" if stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def local_path(text: str) -> Path:
    """Return a path as this system writes it: a table of Windows separates its folders by backslashes."""
    return Path(PureWindowsPath(text).as_posix()) if "\\" in text else Path(PurePosixPath(text))
