"""Lock a directory or file against writing by other processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lorkit.decompose.errors import BusyError


@contextmanager
def exclusive(path: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Lock a directory or file against writing by other processes.

    Raises:
        BusyError: Another process holds the lock for longer than `wait_s` seconds.
    """
    from filelock import FileLock, Timeout  # readers of artifacts lock nothing

    path.parent.mkdir(parents=True, exist_ok=True)
    lock_path = path.parent / f".{path.name}.lock"
    lock = FileLock(lock_path)
    try:
        lock.acquire(timeout=wait_s)
    except Timeout:
        raise BusyError(
            f"another process is writing {path}", required="one writer at a time", fix="wait for it, then retry"
        ) from None
    try:
        yield
    finally:
        # filelock leaves the file; processes that opened it before its removal check it after locking
        with suppress(PermissionError):  # Windows cannot remove open files
            lock_path.unlink(missing_ok=True)
        lock.release()
