"""Write a file atomically: as a hidden draft beside it, which is renamed when it is complete.

A draft's name states the host and the process that writes it, so that what a killed process left can be told from what
a living one writes.
"""

from __future__ import annotations

import os
import platform
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from lorkit.decompose.errors import UsageError

_DRAFT = re.compile(r"\..+\.draft-(?P<host>[A-Za-z0-9-]*)-(?P<process>\d+)-\w+")
_DAY_S = 24 * 3600.0


@contextmanager
def open_draft(path: Path) -> Iterator[BinaryIO]:
    """Yield a stream whose content becomes `path` when the block succeeds; on any exception, nothing of it is kept.

    The first one of a process in a directory also removes the drafts that killed processes left there.

    Raises:
        OSError: It cannot be written; the error names `path`.
    """
    temporary = None
    with suppress(OSError):  # the write itself says what is wrong
        _remove_abandoned(path.parent.absolute())
    try:
        with naming(path):
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.draft-{host()}-{os.getpid()}-")
            with os.fdopen(handle, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
    except BaseException:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name a file in errors of the block that name none, as those of a failed write, or only a draft."""
    try:
        yield
    except OSError as error:
        draft = isinstance(error.filename, str) and _DRAFT.fullmatch(Path(error.filename).name)
        if error.errno is None or not (error.filename is None or draft):
            raise
        raise OSError(error.errno, error.strerror or "failed", str(path)) from error


def native_path(path: Path) -> str:
    """Return a path as the text that native code takes; raise UsageError where its name is no UTF-8."""
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{os.fsencode(path).decode(errors='backslashreplace')} has a name that is not UTF-8",
            required="names in UTF-8, which the runtimes read",
            fix="rename the directory",
        ) from None
    return text


@cache
def _remove_abandoned(directory: Path) -> None:
    """Remove what no process writes any more; once for a directory, which may have thousands of files."""
    for path in directory.glob(".*.draft-*"):
        if is_abandoned(path):
            path.unlink(missing_ok=True)


def host() -> str:
    """Return the name of this host, as part of a file name."""
    return re.sub(r"[^A-Za-z0-9-]", "-", platform.node())


def is_abandoned(path: Path) -> bool:
    """Tell whether a file is a draft that no process writes any more.

    The process of this host that wrote it has ended; of one from another host, or of a number that is used again, the
    file has not changed for a day.
    """
    found = _DRAFT.fullmatch(path.name)
    if found is None:
        return False
    import psutil  # few directories have drafts

    if found["host"] == host() and not psutil.pid_exists(int(found["process"])):
        return True
    try:
        return time.time() - path.lstat().st_mtime > _DAY_S
    except FileNotFoundError:  # renamed meanwhile
        return False
