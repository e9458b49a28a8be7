"""The store of a stream as one SQLite file, in WAL mode.

A transaction is on disk, for the operating system, before it is answered: a process that is killed loses none. After a
loss of power, the last ones may be missing, but the file is whole (`synchronous=NORMAL`).
Shapes: C classes, F features, P places.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import Floats
from lorkit.decompose.errors import BusyError, StorageError, first_line
from lorkit.export.serving.counters import Layout, Ledger, Place, Row, check_header, damaged

T = TypeVar("T")
WAIT_S = 30.0
"""How long a process waits for another one that writes."""
_SUMS, _VALUES = np.dtype("<f8"), np.dtype("<f4")
_SCHEMA = (
    "CREATE TABLE header (content TEXT NOT NULL)",
    "CREATE TABLE counters (relation INTEGER, key TEXT, sums BLOB NOT NULL, PRIMARY KEY (relation, key))",
    "CREATE TABLE rows (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, keys TEXT NOT NULL,"
    " features BLOB NOT NULL, time REAL, label INTEGER NOT NULL, score TEXT)",
)
_READ_COUNTER = "SELECT sums FROM counters WHERE relation = ? AND key = ?"
_READ_ROW = "SELECT keys, features, time, label, score FROM rows WHERE id = ?"
_WRITE_COUNTER = (
    "INSERT INTO counters (relation, key, sums) VALUES (?, ?, ?)"
    " ON CONFLICT (relation, key) DO UPDATE SET sums = excluded.sums"
)
_WRITE_ROW = (
    "INSERT INTO rows (id, keys, features, time, label, score) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET label = excluded.label"
)
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
        with _explained(path):
            self._connection = sqlite3.connect(path, timeout=wait_s, isolation_level=None)
        try:
            with _explained(path):
                self._open()
        except BaseException:
            self._connection.close()
            raise

    def transact(self, work: Callable[[Ledger], T]) -> T:
        """Run `work` and keep what it writes, or nothing; see `CounterStore.transact`."""
        run = self._connection.execute
        with _explained(self.path):
            run("BEGIN IMMEDIATE")
            try:
                found = work(_SqliteLedger(self._connection, self._layout, self.path))
                run("COMMIT")
            except BaseException:
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

    def rows(self, ids: Sequence[str]) -> dict[str, Row]:
        """Return the rows with some ids that are known."""
        found: dict[str, Row] = {}
        for name in ids:
            cells = self._connection.execute(_READ_ROW, (name,)).fetchone()
            if cells is None:
                continue
            values = self._array(cells[1], _VALUES, (len(self._layout.features),))
            keys = tuple(json.loads(cells[0]))
            found[name] = Row(keys=keys, values_F=values, time=cells[2], label=cells[3], score=cells[4])
        return found

    def counters(self, places: Sequence[Place]) -> Floats:
        """Return the sums (P, C+1, F+1) at some places."""
        found = np.zeros((len(places), *self._layout.shape))
        for at, place in enumerate(places):
            cells = self._connection.execute(_READ_COUNTER, place).fetchone()
            if cells is not None:
                found[at] = self._array(cells[0], _SUMS, self._layout.shape)
        return found

    def write(self, counters: Mapping[Place, Floats], rows: Mapping[str, Row]) -> None:
        """Replace the sums at some places, and add rows; of a known row only the label changes."""
        self._connection.executemany(
            _WRITE_COUNTER,
            ((*place, np.ascontiguousarray(sums, dtype=_SUMS).tobytes()) for place, sums in counters.items()),
        )
        self._connection.executemany(
            _WRITE_ROW,
            (
                (
                    name,
                    json.dumps(row.keys, ensure_ascii=False),
                    row.values_F.astype(_VALUES).tobytes(),
                    row.time,
                    row.label,
                    row.score,
                )
                for name, row in rows.items()
            ),
        )

    def _array(self, data: Any, kind: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        if not isinstance(data, bytes) or len(data) != kind.itemsize * int(np.prod(shape)):
            raise damaged(str(self._path), f"an entry of another size than {shape}")
        return np.frombuffer(data, dtype=kind).reshape(shape)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Raise what SQLite reports as an error of one line."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the details of extended codes
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
