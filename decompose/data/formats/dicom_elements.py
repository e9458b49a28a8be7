"""How many elements of a DICOM file are read: a damaged one may hold hundreds of millions, each of eight bytes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

_MOST_PIECES = 4_000_000  # ten thousand frames with attributes of their own have a million
_MOST_ZEROS = 1000
_ZEROS = bytes(8)


class _BoundedReader(io.BufferedReader):
    """A file that is read in a bounded number of pieces; pydicom takes each eight zeros of a damaged file for one."""

    pieces = zeros = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read bytes; raise ValueError at the first piece that is too many."""
        found = super().read(size)
        self.pieces += 1
        self.zeros = self.zeros + 1 if found == _ZEROS else 0
        if self.pieces > _MOST_PIECES or self.zeros > _MOST_ZEROS:
            raise ValueError("zeros in place of elements" if self.zeros > _MOST_ZEROS else "too many elements")
        return found


def open_bounded(path: Path) -> BinaryIO:
    """Open a file for pydicom; reading it raises ValueError once no intact file has so many elements, or such zeros."""
    return _BoundedReader(io.FileIO(path))
