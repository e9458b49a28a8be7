"""Timings of kernels, stored between builds so that the next engine is built faster and with the same kernels.

A file begins with the SHA-256 of its content. Damaged files are ignored: timings only save time, and invalid ones may
crash a builder.
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
    """Return the file of a GPU, driver and TensorRT."""
    words = [re.sub(r"[^a-z0-9.]+", "-", value.lower()).strip("-") for value in surroundings.values()]
    return DIRECTORY / f"{'_'.join(words)}.timing"


def read_timings(path: Path) -> bytes:
    """Return stored timings; empty if the file is missing, damaged or unreadable."""
    try:
        content = path.read_bytes()
    except OSError:
        return b""
    digest, data = content[:_LENGTH], content[_LENGTH:]
    return data if sha256(data).digest() == digest else b""


def write_timings(path: Path, data: bytes) -> None:
    """Store timings if possible; errors are ignored, since the engine is valid without them."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, sha256(data).digest() + data)
    except OSError:
        return
