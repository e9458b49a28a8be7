"""Replace directories atomically: a crash or Ctrl-C leaves the old directory or none."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from lorkit.decompose.errors import BusyError, UsageError

_MANIFEST = "manifest.json"


@contextmanager
def exclusive(path: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Lock a directory or file against writing by other processes.

    Raises:
        BusyError: Another process holds the lock for longer than `wait_s` seconds.
    """
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


@contextmanager
def staged_directory(directory: Path) -> Iterator[Path]:
    """Yield a hidden staging directory that replaces `directory` when the block succeeds.

    An existing artifact stays readable until then. On any exception, Ctrl-C included, it is kept and the staging
    directory is removed.

    Raises:
        UsageError: `directory` holds something that is not an artifact, which is never overwritten.
        StorageError: Another process is writing it.
    """
    directory = Path(os.path.abspath(directory))
    with exclusive(directory):
        recover_interrupted(directory)
        check_replaceable(directory)
        remove_stale(directory.parent)
        staging = directory.parent / f".{directory.name}.{_mark()}{os.getpid()}"
        staging.mkdir()
        try:
            yield staging
            replace_directory(staging, directory)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise


def replace_directory(staging: Path, directory: Path, keep: Sequence[str] = ()) -> None:
    """Rename `staging` to `directory` and remove what it replaces, except the names in `keep`."""
    aside = directory.parent / f".{directory.name}.old-{os.getpid()}"
    if directory.exists():
        os.replace(directory, aside)
    os.replace(staging, directory)
    for name in keep:
        if (aside / name).exists() and not (directory / name).exists():
            os.replace(aside / name, directory / name)
    shutil.rmtree(aside, ignore_errors=True)


def recover_interrupted(directory: Path) -> None:
    """Repair what a killed process left: restore a renamed artifact, remove staging directories.

    The caller must hold the lock, since only then are leftovers unused.
    """
    for aside in sorted(directory.parent.glob(f".{directory.name}.old-*")):
        if directory.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.replace(aside, directory)
    for partial in directory.parent.glob(f".{directory.name}.partial-*"):
        shutil.rmtree(partial, ignore_errors=True)


def remove_stale(parent: Path) -> None:
    """Remove the staging directories that killed processes of this host left in `parent`, under any name.

    A process is alive if its lock is held; process ids are reused. Directories of other hosts are kept, because some
    shared file systems do not share locks.
    """
    for partial in parent.glob(f".*.{_mark()}*"):
        name = partial.name[1:].partition(f".{_mark()}")[0]
        aside = partial.with_name(f"{partial.name}-stale")
        try:
            with exclusive(parent / name):  # only for the rename, so that its next builder need not wait
                os.replace(partial, aside)
        except (BusyError, FileNotFoundError):
            continue
        shutil.rmtree(aside, ignore_errors=True)


def _mark() -> str:
    host = re.sub(r"[^A-Za-z0-9-]", "-", platform.node())
    return f"partial-{host}-"


def check_replaceable(directory: Path) -> None:
    """Raise UsageError for a file, or for a non-empty directory that is not an artifact of lorkit."""
    if directory.is_dir() and ((directory / _MANIFEST).is_file() or not any(directory.iterdir())):
        return
    if directory.exists() or directory.is_symlink():
        raise UsageError(
            f"{directory} exists and is not a lorkit artifact",
            required="a new path, or an artifact",
            fix="choose another",
        )
