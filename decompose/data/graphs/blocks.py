"""Blocks of rows whose work fits in a stated memory."""

from __future__ import annotations

import numpy as np

from lorkit.decompose.artifacts.arrays import Ints

BLOCK_BYTES = 512 * 2**20
"""Bound of the memory of a block, unless a single row needs more."""


def row_blocks(entries_M: Ints, width: int, entry_bytes: int) -> list[slice]:
    """Return consecutive slices of M rows, each of at least one row and at most `BLOCK_BYTES` where rows allow it.

    Args:
        entries_M: (M,) upper bound of the non-zeros of each row.
        width: Float64 numbers per row of the result, of which three copies are held.
        entry_bytes: Bytes per non-zero.
    """
    ends_M = np.cumsum(np.asarray(entries_M, dtype=np.float64) * entry_bytes + 24.0 * width)
    blocks, start = [], 0
    while start < len(ends_M):
        before = ends_M[start - 1] if start else 0.0
        stop = max(start + 1, int(np.searchsorted(ends_M, before + BLOCK_BYTES, side="right")))
        blocks.append(slice(start, stop))
        start = stop
    return blocks
