from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lorkit.decompose.models.mixtures.blocks import blocks_of


@given(total=st.integers(1, 40), count=st.integers(1, 7))
def test_blocks_cover_the_patch_in_order_without_waste(total: int, count: int) -> None:
    """Row `block * total + i` of the patch is row `offset + i` of the block's channels, for all i below `total`."""
    blocks = blocks_of(total, count)
    for block, (start, offset) in enumerate(zip(blocks.starts, blocks.offsets, strict=True)):
        assert start * count + offset == block * total
        assert 0 <= offset <= blocks.width * count - total
        assert 0 <= start <= total - blocks.width
    assert blocks.width <= total / count + 2
    assert blocks.folds == (total % count == 0)
