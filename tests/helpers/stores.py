"""Stores of both kinds for the same tests, and their content read without lorkit."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
from redis_servers import RedisServer
from streams import transactions

Content = tuple[dict[Any, Any], dict[Any, Any]]


class Places:
    """Addresses of new stores by name: files, or databases of a server."""

    def __init__(self, folder: Path, server: RedisServer | None) -> None:
        self._folder, self._server = folder, server
        self._names: dict[str, int] = {}
        if server is not None:
            with server.client() as client:
                client.flushall()

    def __call__(self, name: str) -> Path | str:
        """Return the address of a store; the same name is the same store."""
        if self._server is None:
            return self._folder / f"{name}.db"
        return self._server.url(self._names.setdefault(name, len(self._names)))


def content(place: Path | str) -> Content:
    """Return sums by relation and key, and label and answer by id."""
    return _of_file(place) if isinstance(place, Path) else _of_server(place)


def _of_file(path: Path) -> Content:
    with sqlite3.connect(path) as connection:
        sums = {
            row[:2]: np.frombuffer(row[2]) for row in connection.execute("SELECT relation, key, sums FROM counters")
        }
        rows = {row[0]: row[1:] for row in connection.execute("SELECT id, label, score FROM rows")}
    connection.close()
    return sums, rows


def _of_server(url: str) -> Content:
    import redis

    with redis.Redis.from_url(url) as client:
        counters: dict[int, Any] = {at: client.hgetall(f"lorkit:counters:{at}") for at in range(2)}
        entries: Any = client.hgetall("lorkit:rows")
    sums = {(at, key.decode()): np.frombuffer(cell) for at, some in counters.items() for key, cell in some.items()}
    rows = {}
    for name, entry in entries.items():
        head, _, score = entry[8:].decode().partition("\n")  # two features are before
        rows[name.decode()] = (json.loads(head)[2], score or None)
    return sums, rows


def assert_same(found: Content, wanted: Content) -> None:
    """Compare two stores to the last bit."""
    assert found[1] == wanted[1]
    assert found[0].keys() == wanted[0].keys()
    for place, values in found[0].items():
        np.testing.assert_array_equal(values, wanted[0][place])


def lines_of(count: int) -> list[str]:
    """Return rows, and labels of some that are corrected later."""
    lines = []
    for at, row in enumerate(transactions(count)):
        lines.append(json.dumps(row))
        if at % 3 == 2:
            lines.append(json.dumps({"id": f"t{at - 2}", "label": "yes"}))
        if at % 6 == 5:
            lines.append(json.dumps({"id": f"t{at - 5}", "label": "no"}))
    return lines
