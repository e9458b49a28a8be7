"""The store of a stream as a database of a Redis server, which several machines may use.

A transaction reads the version of the store, and the script that writes it does so only if the version is the same:
whatever happens between, transactions come one after the other. Where that fails, a lock that expires keeps processes
from working in vain. Numbers are bytes, so they are exact.
Shapes: C classes, F features, P places.
"""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import TypeVar

from lorkit.decompose.artifacts.arrays import Floats
from lorkit.decompose.errors import BusyError, LorkitError, StorageError
from lorkit.export.serving import redis_scripts as scripts
from lorkit.export.serving.addresses import RedisAddress
from lorkit.export.serving.cache import CounterCache
from lorkit.export.serving.counters import WAIT_S, Layout, Ledger, Place, Row, check_header, damaged
from lorkit.export.serving.entries import cells_of, keys_text, row_of, sums_of, values_cell, values_size
from lorkit.export.serving.redis_connection import RedisConnection

T = TypeVar("T")
LEASE_S = 1.0
"""How long others wait at least for a process that was killed."""
_SHARED_S = 10.0
"""How long a process takes the lock first after it met another one."""
_LARGE = 20_000
"""Entries of a new store from which they are sent in parts."""


class RedisStore:
    """Counters in a database of a Redis server, beside whatever else is in it.

    Args:
        address: The server and its database.
        layout: What it counts.
        wait_s: Seconds to wait for another process.
        lease_s: Seconds after which others no longer wait for a process that may have been killed.

    Raises:
        ArtifactError: It is damaged, or was made for another network.
        MissingRuntimeError: The package redis is missing.
        StorageError: It cannot be reached, or would forget what it holds.
        UsageError: A wrong user or password.
    """

    def __init__(
        self, address: RedisAddress, layout: Layout, *, wait_s: float = WAIT_S, lease_s: float = LEASE_S
    ) -> None:
        self._layout, self._wait_s, self._lease_s = layout, wait_s, lease_s
        self._connection = RedisConnection(address)
        self._client = self._connection.client
        self._keys = scripts.keys_of(len(layout.relations))
        self._cache, self._seen, self._shared_until = CounterCache(layout), 0, 0.0
        try:
            with self._connection.explained():
                self._open()
        except BaseException:
            self._client.close()
            raise

    def transact(self, work: Callable[[Ledger], T]) -> T:
        """Run `work` and keep what it writes, or nothing; see `CounterStore.transact`."""
        deadline = time.monotonic() + self._wait_s
        while True:
            token = secrets.token_hex(8)
            try:
                with self._connection.explained():
                    self._begin(token, deadline)
                    ledger = _RedisLedger(self._connection, self._layout, self._cache, self._seen, token)
                    found = work(ledger)
                    self._seen += ledger.commit()
                    return found
            except BaseException as error:
                self._cache.clear()
                self._release(token)
                if not isinstance(error, _OvertakenError):
                    raise
                self._shared_until = time.monotonic() + _SHARED_S
            if time.monotonic() > deadline:
                raise self._busy()
            self._lease_s = min(2 * self._lease_s, self._wait_s)  # the work takes longer than others waited for it

    def last_time(self) -> float | None:
        """Return the time of the row that was counted last."""
        with self._connection.explained():
            found = self._client.get(self._keys[scripts.LAST])
        try:
            return float(found) if found else None
        except ValueError:
            raise damaged(self._connection.where, "its last time is no number") from None

    def __len__(self) -> int:
        with self._connection.explained():
            return int(self._client.hlen(self._keys[scripts.ROWS]))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _open(self) -> None:
        self._connection.check_memory()
        header = self._connection.run(scripts.OPEN, self._keys, [self._layout.header])
        if not header:
            raise damaged(self._connection.where, "it has no header")
        check_header(header.decode(errors="replace"), self._layout, self._connection.where)
        self._seen = self._version(self._client.get(self._keys[scripts.VERSION]))

    def _begin(self, token: str, deadline: float) -> None:
        """Wait for other processes, and keep nothing in memory that they changed.

        The lock is taken only if another process was met lately: each write costs a safe server the time of its disk.
        """
        lock, lease_ms = self._keys[scripts.LOCK], max(1, round(1000 * self._lease_s))
        while True:
            shared = time.monotonic() < self._shared_until
            with self._client.pipeline(transaction=False) as pipeline:
                if shared:
                    pipeline.set(lock, token, nx=True, px=lease_ms)
                else:
                    pipeline.get(lock)
                pipeline.get(self._keys[scripts.VERSION])
                held, found = pipeline.execute()
            if bool(held) == shared:
                break
            self._shared_until = time.monotonic() + _SHARED_S
            if time.monotonic() > deadline:
                raise self._busy()
            time.sleep(random.uniform(0.001, 0.004))  # not in step with others that wait
        version = self._version(found)
        if version != self._seen:
            self._cache.clear()
        self._seen = version

    def _version(self, found: bytes | None) -> int:
        """Return the number of transactions so far."""
        if found is not None and not found.isdigit():
            raise damaged(self._connection.where, "its version is no number")
        if found is None or int(found) < self._seen:
            raise StorageError(
                f"{self._connection.where} has forgotten what it confirmed",
                required="a server that keeps it: appendonly yes, appendfsync always",
                fix="restore its append-only file, or fill a new database and send all lines again",
            )
        return int(found)

    def _release(self, token: str) -> None:
        with suppress(LorkitError), self._connection.explained():
            self._connection.run(scripts.RELEASE, [self._keys[scripts.LOCK]], [token])

    def _busy(self) -> BusyError:
        return BusyError(
            f"another process writes {self._connection.where}",
            required="one that releases it after each transaction",
            fix="wait for it to end, or use another database",
        )


class _OvertakenError(Exception):
    """Another transaction was written in between."""


class _RedisLedger:
    """The content of the database within a transaction; what is written is sent at its end."""

    def __init__(
        self, connection: RedisConnection, layout: Layout, cache: CounterCache, version: int, token: str
    ) -> None:
        self._connection, self._layout, self._cache = connection, layout, cache
        self._version, self._token = version, token
        self._keys = scripts.keys_of(len(layout.relations))
        self._known: set[str] = set()
        self._writes: list[tuple[int, str, bytes]] = []
        self._last, self._staged = "same", False

    def rows(self, ids: Sequence[str]) -> dict[str, Row]:
        """Return the rows with some ids that are known."""
        cells = self._connection.client.hmget(self._keys[scripts.ROWS], ids) if ids else []
        found = {name: self._row(cell) for name, cell in zip(ids, cells, strict=True) if cell is not None}
        self._known.update(found)
        return found

    def counters(self, places: Sequence[Place]) -> Floats:
        """Return the sums (P, C+1, F+1) at some places."""
        return self._cache.read(places, self._read)

    def write_counters(self, places: Sequence[Place], sums: Floats) -> None:
        """Replace the sums (P, C+1, F+1) at some places."""
        cells = zip(places, cells_of(sums), strict=True)
        self._add([(scripts.COUNTERS + relation, key, cell) for (relation, key), cell in cells])
        self._cache.write(places, sums)

    def write_rows(self, rows: Mapping[str, Row]) -> None:
        """Add rows by id, or replace those that were read."""
        self._add([(scripts.ROWS, name, _entry(row)) for name, row in rows.items()])
        added = [row for name, row in rows.items() if name not in self._known]
        if added:
            self._last = "" if added[-1].time is None else repr(added[-1].time)

    def commit(self) -> int:
        """Write all, and return the number of transactions that were written: 0 if there is nothing to write.

        Raises:
            _OvertakenError: Another transaction was written; nothing of this one is.
        """
        if not self._writes and not self._staged:
            self._connection.run(scripts.RELEASE, [self._keys[scripts.LOCK]], [self._token])
            return 0
        self._send(scripts.COMMIT, "staged" if self._staged else "whole", self._last)
        return 1

    def _add(self, writes: Sequence[tuple[int, str, bytes]]) -> None:
        self._writes += writes
        if self._version == 0 and len(self._writes) >= _LARGE:
            self._send(scripts.STAGE, "next" if self._staged else "first", "")
            self._writes, self._staged = [], True

    def _send(self, script: str, *arguments: object) -> None:
        numbered = ((at + 1, field, value) for at, field, value in self._writes)
        sent = [self._version, self._token, *arguments, *chain.from_iterable(numbered)]
        if not self._connection.run(script, self._keys, sent):
            raise _OvertakenError

    def _read(self, places: Sequence[Place]) -> Floats:
        fields: dict[int, list[str]] = {}
        for relation, key in places:
            fields.setdefault(relation, []).append(key)
        with self._connection.client.pipeline(transaction=False) as pipeline:
            for relation, some in fields.items():
                pipeline.hmget(self._keys[scripts.COUNTERS + relation], some)
            answers = pipeline.execute()
        found = {relation: iter(cells) for relation, cells in zip(fields, answers, strict=True)}
        return sums_of([next(found[relation]) for relation, _ in places], self._layout, self._connection.where)

    def _row(self, cell: bytes) -> Row:
        """Return the row of an entry: bytes of the features, JSON of keys, time and label, and the answer."""
        where, size = self._connection.where, values_size(self._layout)
        try:
            head, _, score = cell[size:].decode().partition("\n")
            keys, time_, label = json.loads(head)
        except Exception:  # boundary
            raise damaged(where, "an entry that is no row") from None
        return row_of(self._layout, where, json.dumps(keys), cell[:size], time_, label, score or None)


def _entry(row: Row) -> bytes:
    head = f"[{keys_text(row.keys)}, {'null' if row.time is None else repr(row.time)}, {row.label}]"
    return values_cell(row.values_F) + f"{head}\n{row.score or ''}".encode()
