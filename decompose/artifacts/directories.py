"""Build a directory aside and move it into place whole, so that a crash or Ctrl-C leaves the old one or nothing."""

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
def exclusive(directory: Path) -> Iterator[None]:
    """Hold the right to write `directory` against other processes; the lock dies with the process.

    Raises:
        BusyError: Another process is writing it.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    path = directory.parent / f".{directory.name}.lock"
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise BusyError(
            f"another process is writing {directory}",
            required="one writer at a time",
            fix="wait for it, then retry",
        ) from None
    try:
        yield
    finally:
        # filelock leaves the file; who opened it before it went finds out once the lock is theirs
        with suppress(PermissionError):  # Windows removes no file that is open
            path.unlink(missing_ok=True)
        lock.release()


@contextmanager
def staged_directory(directory: Path) -> Iterator[Path]:
    """Yield a hidden staging directory beside `directory` that takes its place when the block ends well.

    An artifact that is there already stays readable until then and is replaced by renaming it aside. On any
    exception, Ctrl-C included, the staging directory is removed and the old one stays.

    Args:
        directory: Where the finished directory shall lie.

    Raises:
        UsageError: `directory` holds something that is no artifact, which is never overwritten.
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
    """Move `staging` to `directory`; what was there is renamed aside first and removed afterwards, but for `keep`."""
    aside = directory.parent / f".{directory.name}.old-{os.getpid()}"
    if directory.exists():
        os.replace(directory, aside)
    os.replace(staging, directory)
    for name in keep:
        if (aside / name).exists() and not (directory / name).exists():
            os.replace(aside / name, directory / name)
    shutil.rmtree(aside, ignore_errors=True)


def recover_interrupted(directory: Path) -> None:
    """Undo what a killed process left: bring a renamed artifact back, drop staging directories.

    Call it with the lock held: only then is no leftover in use.
    """
    for aside in sorted(directory.parent.glob(f".{directory.name}.old-*")):
        if directory.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.replace(aside, directory)
    for partial in directory.parent.glob(f".{directory.name}.partial-*"):
        shutil.rmtree(partial, ignore_errors=True)


def remove_stale(parent: Path) -> None:
    """Remove what killed processes of this host were building in `parent`, under any name.

    Whether a builder lives is asked of its lock, which dies with it, and not of its process id, which may be another
    process's by now. What another host builds stays: not every shared file system shares locks.
    """
    for partial in parent.glob(f".*.{_mark()}*"):
        name = partial.name[1:].partition(f".{_mark()}")[0]
        aside = partial.with_name(f"{partial.name}-stale")
        try:
            with exclusive(parent / name):  # only to rename it: its next builder must not be kept waiting
                os.replace(partial, aside)
        except (BusyError, FileNotFoundError):
            continue
        shutil.rmtree(aside, ignore_errors=True)


def _mark() -> str:
    host = re.sub(r"[^A-Za-z0-9-]", "-", platform.node())
    return f"partial-{host}-"


def check_replaceable(directory: Path) -> None:
    """Refuse to replace a file, or a non-empty directory that no artifact of ours is.

    Raises:
        UsageError: Something else lies there.
    """
    if directory.is_dir() and ((directory / _MANIFEST).is_file() or not any(directory.iterdir())):
        return
    if directory.exists() or directory.is_symlink():
        raise UsageError(
            f"{directory} exists and is no lorkit artifact", required="a new path, or an artifact", fix="choose another"
        )
