"""How much memory a file may ask for: what it declares is compared with what is free before it is taken.

Without psutil, since the modules of this package are also copied beside engines.
"""

from __future__ import annotations

import os
from pathlib import Path

from lorkit.decompose.errors import DataError

_MEMORY, _GROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
_GIB = 2**30


def check_fits(path: Path | str, size: int, what: str = "its values") -> None:
    """Raise DataError if a file declares more bytes than are free.

    Args:
        path: The file, for the message.
        size: Bytes that will be taken.
        what: What takes them.
    """
    free = free_bytes()
    if free is not None and size > free:
        raise DataError(
            f"{path} declares {size / _GIB:.3g} GiB for {what}",
            required=f"at most the {free / _GIB:.3g} GiB of memory that are free",
            fix="check whether the file is damaged, split it, or free memory",
        )


def free_bytes() -> int | None:
    """Return the memory that can still be taken: of the machine, or of its control group if that is less.

    Where the system does not say what is free, all of its memory counts; None where it does not say that either.
    """
    free = _stated() or _whole()
    limit, used = (_number(_GROUP / name) for name in ("memory.max", "memory.current"))
    return free if free is None or limit is None or used is None else max(0, min(free, limit - used))


def _stated() -> int | None:
    try:
        lines = _MEMORY.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    words = next((line.split() for line in lines if line.startswith("MemAvailable:")), [])
    return int(words[1]) * 1024 if len(words) > 1 and words[1].isdecimal() else None


def _whole() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isdecimal() else None
