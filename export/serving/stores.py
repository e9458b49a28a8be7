"""Open the store that an address names."""

from __future__ import annotations

from pathlib import Path

from lorkit.export.serving.addresses import read_address
from lorkit.export.serving.counters import WAIT_S, CounterStore, Layout
from lorkit.export.serving.redis_store import LEASE_S, RedisStore
from lorkit.export.serving.sqlite import SqliteStore


def open_store(place: Path | str, layout: Layout, *, wait_s: float = WAIT_S, lease_s: float = LEASE_S) -> CounterStore:
    """Open a SQLite file or a database of a Redis server; it is created if it is new.

    Args:
        place: A file, or redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE].
        layout: What it counts.
        wait_s: Seconds to wait for another process.
        lease_s: Seconds after which a Redis store no longer waits for a process that may have been killed.

    Raises:
        UsageError: A URL that cannot be read, or a wrong user or password.
        ArtifactError: The store is damaged, of another kind, or was made for another network.
        MissingRuntimeError: A Redis URL without the extra `redis`.
        BusyError: Another process held it for longer than `wait_s`.
        StorageError: It cannot be reached or written, or would forget what it holds.
    """
    address = read_address(place)
    if isinstance(address, Path):
        return SqliteStore(address, layout, wait_s=wait_s)
    return RedisStore(address, layout, wait_s=wait_s, lease_s=lease_s)
