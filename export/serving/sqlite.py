"""The store of a stream as one SQLite file, in WAL mode.

A transaction is on disk, for the operating system, before it is answered: a process that is killed loses none. After a
loss of power, the last ones may be missing, but the file is whole (`synchronous=NORMAL`).
Shapes: C classes, F features, P places.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from lorkit.decompose.artifacts.arrays import Floats
from lorkit.decompose.errors import BusyError, StorageError, first_line, refuse_special
from lorkit.export.serving.cache import CounterCache
from lorkit.export.serving.counters import WAIT_S, Layout, Ledger, Place, Row, check_header, damaged
from lorkit.export.serving.entries import cells_of, keys_text, row_of, sums_of, values_cell

T = TypeVar("T")
_SCHEMA = (
    "CREATE TABLE header (content TEXT NOT NULL)",
    "CREATE TABLE counters (relation INTEGER, key TEXT, sums BLOB NOT NULL, PRIMARY KEY (relation, key))",
    "CREATE TABLE rows (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, keys TEXT NOT NULL,"
    " features BLOB NOT NULL, time REAL, label INTEGER NOT NULL, score TEXT)",
)
_READ_COUNTERS = "SELECT key, sums FROM counters WHERE relation = ? AND key IN "
_READ_ROWS = "SELECT id, keys, features, time, label, score FROM rows WHERE id IN "
_WRITE_COUNTER = (
    "INSERT INTO counters (relation, key, sums) VALUES (?, ?, ?)"
    " ON CONFLICT (relation, key) DO UPDATE SET sums = excluded.sums"
)
_WRITE_ROW = (
    "INSERT INTO rows (id, keys, features, time, label, score) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET label = excluded.label"
)
_LISTS = (1, 8, 64, 256)
"""Lengths of lists in a statement, so that few statements are compiled."""
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DISK = (
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY
)  # fmt: skip


class SqliteStore:
    """Counters in a file that several processes may use; one waits while another writes.

    Args:
        path: The file; it is created if there is none.
        layout: What it counts.
        wait_s: Seconds to wait for another process.

    Raises:
        ArtifactError: It is damaged, another kind of file, or was made for another network.
        BusyError: Another process held it for longer than `wait_s`.
        StorageError: It cannot be opened or written.
    """

    def __init__(self, path: Path, layout: Layout, *, wait_s: float = WAIT_S) -> None:
        self.path, self._layout = path, layout
        refuse_special(path)
        with _explained(path):
            self._connection = sqlite3.connect(path, timeout=wait_s, isolation_level=None)
        self._ledger = _SqliteLedger(self._connection, layout, path)
        try:
            with _explained(path):
                self._open_patiently(wait_s)
        except BaseException:
            self._connection.close()
            raise

    def transact(self, work: Callable[[Ledger], T]) -> T:
        """Run `work` and keep what it writes, or nothing; see `CounterStore.transact`."""
        run = self._connection.execute
        with _explained(self.path):
            run("BEGIN IMMEDIATE")
            try:
                self._ledger.begin()
                found = work(self._ledger)
                run("COMMIT")
            except BaseException:
                self._ledger.forget()  # what it wrote is not kept
                if self._connection.in_transaction:
                    run("ROLLBACK")
                raise
        return found

    def last_time(self) -> float | None:
        """Return the time of the row that was counted last."""
        with _explained(self.path):
            found = self._connection.execute("SELECT time FROM rows ORDER BY number DESC LIMIT 1").fetchone()
        return None if found is None else found[0]

    def __len__(self) -> int:
        with _explained(self.path):
            return int(self._connection.execute("SELECT count(*) FROM rows").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _open_patiently(self, wait_s: float) -> None:
        """Open the file, also if others open, close or recover it, for which SQLite itself does not always wait."""
        deadline = time.monotonic() + wait_s
        while True:
            try:
                return self._open()
            except sqlite3.OperationalError as error:
                if _code(error) not in _BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(0.01)

    def _open(self) -> None:
        run = self._connection.execute
        if self._tables() - {"header", "counters", "rows"}:  # before the mode of a file of others is changed
            raise damaged(str(self.path), "it has other tables")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run("BEGIN IMMEDIATE")
        try:
            if not self._tables():
                for statement in _SCHEMA:
                    run(statement)
                run("INSERT INTO header VALUES (?)", (self._layout.header,))
            headers = run("SELECT content FROM header").fetchall()
            if len(headers) != 1 or not isinstance(headers[0][0], str):
                raise damaged(str(self.path), "it has no header")
            check_header(headers[0][0], self._layout, str(self.path))
            run("COMMIT")
        finally:
            if self._connection.in_transaction:
                run("ROLLBACK")

    def _tables(self) -> set[str]:
        return {name for (name,) in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


class _SqliteLedger:
    """The content of the file within a transaction."""

    def __init__(self, connection: sqlite3.Connection, layout: Layout, path: Path) -> None:
        self._connection, self._layout, self._path = connection, layout, path
        self._cache, self._version = CounterCache(layout), -1

    def begin(self) -> None:
        """Keep nothing in memory that another connection may have changed."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self.forget()
        self._version = version

    def forget(self) -> None:
        """Keep nothing in memory."""
        self._cache.clear()

    def rows(self, ids: Sequence[str]) -> dict[str, Row]:
        """Return the rows with some ids that are known."""
        found: dict[str, Row] = {}
        for names, texts in _lists(ids):
            for name, *cells in self._connection.execute(_READ_ROWS + texts, names):
                found[name] = row_of(self._layout, str(self._path), *cells)
        return found

    def counters(self, places: Sequence[Place]) -> Floats:
        """Return the sums (P, C+1, F+1) at some places."""
        return self._cache.read(places, self._read)

    def write_counters(self, places: Sequence[Place], sums: Floats) -> None:
        """Replace the sums (P, C+1, F+1) at some places."""
        cells = zip(places, cells_of(sums), strict=True)
        # a statement for each: one for many writes a journal of its own, which takes longer
        self._connection.executemany(_WRITE_COUNTER, [(relation, key, cell) for (relation, key), cell in cells])
        self._cache.write(places, sums)

    def write_rows(self, rows: Mapping[str, Row]) -> None:
        """Add rows by id; of a row that is known only the label changes."""
        entries = [
            (name, keys_text(row.keys), values_cell(row.values_F), row.time, row.label, row.score)
            for name, row in rows.items()
        ]
        self._connection.executemany(_WRITE_ROW, entries)

    def _read(self, places: Sequence[Place]) -> Floats:
        keys: dict[int, list[str]] = {}
        for relation, key in places:
            keys.setdefault(relation, []).append(key)
        cells: dict[Place, bytes] = {}
        for relation, some in keys.items():
            for names, texts in _lists(some):
                for key, cell in self._connection.execute(_READ_COUNTERS + texts, (relation, *names)):
                    cells[relation, key] = cell
        return sums_of([cells.get(place) for place in places], self._layout, str(self._path))


def _lists(names: Sequence[str]) -> Iterator[tuple[list[str], str]]:
    """Yield parts of a list of names, filled up with their last one to the length of a statement, and its text."""
    for start in range(0, len(names), _LISTS[-1]):
        some = list(names[start : start + _LISTS[-1]])
        length = next(one for one in _LISTS if one >= len(some))
        yield some + some[-1:] * (length - len(some)), f"({', '.join('?' * length)})"


def _code(error: sqlite3.Error) -> int:
    """Return the code of an error without its details."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Raise what SQLite reports as an error of one line."""
    try:
        yield
    except sqlite3.Error as error:
        code = _code(error)
        if code in _BUSY:
            raise BusyError(
                f"another process writes {path}",
                required="one that releases it after each transaction",
                fix="wait for it to end, or use another file",
            ) from None
        if code in _DISK:
            raise StorageError(
                f"{path} cannot be written ({first_line(error)})",
                required="a file on a disk that has room and may be written",
                fix="check the path, its permissions and the free space",
            ) from None
        raise damaged(str(path), first_line(error)) from None
