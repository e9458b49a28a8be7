"""The shards of one namespace: look up and read entries in batches, and write new ones in chunks of megabytes.

Shapes: N samples of a batch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from filelock import ReadWriteLock
from torch import Tensor

from lorkit.decompose.artifacts import write_json
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.training.feature_cache.namespaces import FeatureNamespace
from lorkit.decompose.training.feature_cache.shards import SUFFIX, Rows, open_shard, write_shard

ABOUT = "space.json"
# Bytes collected before a shard is written, large enough to read and hash at full speed.
_SHARD_BYTES = 32 * 2**20
# Seconds after which a temporary file has no writer any more.
_ABANDONED_S = 3600.0


def space_lock(directory: Path) -> ReadWriteLock:
    """Return the lock of a space, shared while it is open and exclusive while it is removed.

    Its file is beside the space and is not removed: a lock on a deleted file excludes no process.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    return ReadWriteLock(directory.with_name(f".{directory.name}.lock"), is_singleton=False)


class MemoryStore:
    """Entries of one namespace in memory.

    Args:
        namespace: Its namespace.
    """

    directory: Path | None = None

    def __init__(self, namespace: FeatureNamespace) -> None:
        self.namespace = namespace
        self._index: dict[bytes, tuple[Rows, int]] = {}

    def __contains__(self, key: bytes) -> bool:
        return key in self._index

    def __len__(self) -> int:
        return len(self._index)

    def read(self, keys: Sequence[bytes]) -> dict[str, Tensor]:
        """Return the tensors (N, ...) of existing entries, in order, on the CPU."""
        sources: dict[int, tuple[Rows, list[int], list[int]]] = {}
        for place, key in enumerate(keys):
            block, row = self._index[key]
            _, places, rows = sources.setdefault(id(block), (block, [], []))
            places.append(place)
            rows.append(row)
        found = {}
        for name, part in self.namespace.layout.items():
            stored = torch.empty((len(keys), *part.stored_shape), dtype=part.stored)
            for block, places, rows in sources.values():
                stored[torch.tensor(places)] = block.tensors[name][torch.tensor(rows)]
            found[name] = part.unpack(stored)
        return found

    def add(self, keys: Sequence[bytes], tensors: Mapping[str, Tensor]) -> int:
        """Add new entries with tensors (N, ...); return the number of new bytes."""
        block = self._new(keys, tensors)
        return 0 if block is None else block.bytes

    def flush(self) -> None:
        """Do nothing: a store on disk writes here."""

    def refresh(self) -> None:
        """Do nothing: a store on disk reads what others have written."""

    def close(self) -> None:
        """Do nothing: a store on disk is locked until here."""

    def _new(self, keys: Sequence[bytes], tensors: Mapping[str, Tensor]) -> Rows | None:
        """Take the entries that are new; return them, or None if there are none."""
        fresh = {key: row for row, key in enumerate(keys) if key not in self._index}
        if not fresh:
            return None
        rows = torch.tensor(list(fresh.values()))
        packed = {
            name: part.pack(tensors[name].index_select(0, rows.to(tensors[name].device)))
            for name, part in self.namespace.layout.items()
        }
        block = Rows(list(fresh), packed)
        self._take(block)
        return block

    def _take(self, block: Rows) -> None:
        self._index |= {key: (block, row) for row, key in enumerate(block.keys)}


class Store(MemoryStore):
    """An open space on disk, which other processes may read and write too: shards are atomic.

    Args:
        root: Directory of all spaces.
        namespace: Its namespace.
        warn: Receives a sentence for every unusable shard.
    """

    def __init__(self, root: Path, namespace: FeatureNamespace, warn: Callable[[str], None]) -> None:
        super().__init__(namespace)
        self.directory: Path = root / namespace.name
        self._warn = warn
        self._known: set[str] = set()
        self._pending: list[Rows] = []
        self._open()
        self.refresh()

    def add(self, keys: Sequence[bytes], tensors: Mapping[str, Tensor]) -> int:
        """Add new entries with tensors (N, ...), and write them once they are many; return the number of new bytes."""
        block = self._new(keys, tensors)
        if block is None:
            return 0
        self._pending.append(block)
        if sum(waiting.bytes for waiting in self._pending) >= _SHARD_BYTES:
            self.flush()
        return block.bytes

    def flush(self) -> None:
        """Write added entries; raise StorageError if the disk is full."""
        if not self._pending:
            return
        self._ensure()
        self.refresh()  # do not write again what another process has written
        blocks = [left for block in self._pending if (left := self._still_ours(block)) is not None]
        self._pending.clear()
        if not blocks:
            return
        path = write_shard(self.directory, self.namespace, blocks)
        self._known.add(path.name)
        self._take(open_shard(path, self.namespace))  # the mapped file replaces the memory

    def refresh(self) -> None:
        """Load the shards that other processes have written since.

        Damaged or foreign ones are removed and reported; their entries are computed again.
        """
        for path in sorted(self.directory.glob(f"*{SUFFIX}")):
            if path.name in self._known or path.name.startswith("."):
                continue
            self._known.add(path.name)
            try:
                self._take(open_shard(path, self.namespace))
            except FileNotFoundError:  # another process has removed it
                continue
            except (ArtifactError, ValueError, KeyError, TypeError, RuntimeError) as error:
                given = error.given if isinstance(error, ArtifactError) else f"{path} cannot be read"
                self._warn(f"teacher cache: {given}; it is removed, and its features are computed again")
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the space for removal."""
        self._lock.release()

    def _still_ours(self, block: Rows) -> Rows | None:
        rows = [row for row, key in enumerate(block.keys) if self._index[key][0] is block]
        if len(rows) == len(block.keys):
            return block
        kept = {name: value[torch.tensor(rows, dtype=torch.int64)] for name, value in block.tensors.items()}
        return Rows([block.keys[row] for row in rows], kept) if rows else None

    def _open(self) -> None:
        """Lock the space against removal until `close` or the end of the process."""
        self._lock = space_lock(self.directory)
        self._lock.acquire_read()
        self._ensure()
        os.utime(self.directory / ABOUT)  # time of last use, for `make_room`
        for torn in self.directory.glob(".*.safetensors.*"):
            with suppress(FileNotFoundError):  # its writer has just finished
                if time.time() - torn.stat().st_mtime > _ABANDONED_S:
                    torn.unlink()

    def _ensure(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        if not (self.directory / ABOUT).is_file():
            write_json(self.directory / ABOUT, {"schema_version": 1, "kind": "features", **self.namespace.about})
