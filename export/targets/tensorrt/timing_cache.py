"""Timings of kernels, kept between builds so that the next engine is built faster and with the same kernels.

A file holds the SHA-256 of what follows. What is damaged is as good as absent: timings only save time, and a builder
that is handed nonsense may crash.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from lorkit.decompose.artifacts import write_bytes

DIRECTORY = Path("timings")  # beside runs/ and foundations/
_LENGTH = 32


def timing_path(surroundings: Mapping[str, str]) -> Path:
    """Return the file of a GPU, driver and TensorRT: timings of another say nothing."""
    words = [re.sub(r"[^a-z0-9.]+", "-", value.lower()).strip("-") for value in surroundings.values()]
    return DIRECTORY / f"{'_'.join(words)}.timing"


def read_timings(path: Path) -> bytes:
    """Return what is kept; nothing where the file is absent, damaged or unreadable."""
    try:
        content = path.read_bytes()
    except OSError:
        return b""
    digest, data = content[:_LENGTH], content[_LENGTH:]
    return data if sha256(data).digest() == digest else b""


def write_timings(path: Path, data: bytes) -> None:
    """Keep timings where that is possible: an engine is not lost because they cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, sha256(data).digest() + data)
    except OSError:
        return
