"""Blocks of rows: every row once, in order, and within the memory stated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorkit.decompose.data.graphs import blocks as blocks_module
from lorkit.decompose.data.graphs.blocks import row_blocks


@settings(deadline=None)
@given(entries=st.lists(st.integers(0, 50), max_size=40), limit=st.integers(1, 900))
def test_blocks_hold_every_row_once_within_the_limit(entries: list[int], limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks_module, "BLOCK_BYTES", limit)
        blocks = row_blocks(np.array(entries, dtype=np.int64), 2, 10)
    rows = np.arange(len(entries))
    assert [row for block in blocks for row in rows[block]] == rows.tolist()
    sizes = [sum(10 * entry + 48 for entry in entries[block]) for block in blocks]
    assert all(size <= limit or block.stop - block.start == 1 for size, block in zip(sizes, blocks, strict=True))
    pairs = zip(sizes, sizes[1:], blocks[1:], strict=False)
    assert all(size + 10 * entries[block.start] + 48 > limit for size, _, block in pairs), (
        "a block is as large as it may"
    )
