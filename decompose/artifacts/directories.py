"""Replace directories atomically: a crash or Ctrl-C leaves the old directory or the new one."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from lorkit.decompose.artifacts.drafts import naming
from lorkit.decompose.artifacts.leftovers import adopt, discard, partial_of, recover_interrupted, sweep
from lorkit.decompose.artifacts.locks import exclusive
from lorkit.decompose.errors import UsageError

_MANIFEST = "manifest.json"
_AT_CWD, _EXCHANGE = -100, 2  # of fcntl.h and stdio.h of Linux


@contextmanager
def staged_directory(directory: Path) -> Iterator[Path]:
    """Yield a hidden staging directory that replaces `directory` when the block succeeds.

    An existing artifact stays readable until then. On any exception, Ctrl-C included, it is kept and the staging
    directory is removed.

    Raises:
        UsageError: `directory` holds something that is not an artifact, which is never overwritten.
        StorageError: Another process is writing it.
        OSError: A file cannot be written; the error names it, or the directory.
    """
    directory = Path(os.path.abspath(directory))
    with exclusive(directory):
        recover_interrupted(directory)
        check_replaceable(directory)
        sweep(directory.parent)
        with building(directory) as staging:
            yield staging


@contextmanager
def building(directory: Path) -> Iterator[Path]:
    """Yield a staging directory as `staged_directory` does; the caller holds the lock and has checked `directory`."""
    staging = partial_of(directory)
    shutil.rmtree(staging, ignore_errors=True)
    with naming(directory):
        staging.mkdir()
        try:
            yield staging
            replace_directory(staging, directory)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise


def replace_directory(staging: Path, directory: Path) -> None:
    """Put `staging` in the place of `directory`; what later commands wrote into that one is kept (`adopt`).

    On Linux the two change places at once, so that one of them is always there; elsewhere `sweep` restores the old one
    after a kill.
    """
    aside = directory.parent / f".{directory.name}.old-{os.getpid()}"
    if directory.exists():
        os.replace(staging, aside)  # by this name it is never taken for an unfinished directory
        if not exchange(aside, directory):
            os.replace(aside, staging)
            os.replace(directory, aside)
            os.replace(staging, directory)
        adopt(aside, directory)
        discard(aside, directory)
    else:
        os.replace(staging, directory)


def exchange(one: Path, other: Path) -> bool:
    """Let two paths change places at once; return False where the system or the file system cannot."""
    sys.audit("os.rename", str(one), str(other), -1, -1)
    call = _renameat2()
    return call is not None and call(_AT_CWD, os.fsencode(one), _AT_CWD, os.fsencode(other), _EXCHANGE) == 0


@cache
def _renameat2() -> Any:
    if sys.platform != "linux":
        return None
    with suppress(AttributeError, OSError):  # an old C library
        call = ctypes.CDLL(None).renameat2
        call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
        return call
    return None


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
