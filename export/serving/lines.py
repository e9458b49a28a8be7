"""Read lines as they arrive, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

LONGEST = 2**20
"""Most bytes of a line. Of a longer one, only this many and one more are kept."""
_CHUNK = 2**16


class Source(Protocol):
    """A binary stream that gives what is at hand."""

    def read1(self, size: int, /) -> bytes:
        """Return some bytes, at most `size`; wait if there are none, and return b'' at the end."""
        ...


def read_lines(source: Source) -> Iterator[bytes | None]:
    """Yield lines without their ends, and None before a wait for more: what was read can be answered until then."""
    left = b""
    while chunk := source.read1(_CHUNK):
        *whole, left = (left + chunk).split(b"\n")
        left = left[: LONGEST + 1]
        yield from whole
        if whole:
            yield None
    if left:
        yield left
