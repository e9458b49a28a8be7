"""Streamed decoding: Pillow's filter, and the mask that `decode_at` gives."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from lorkit.decompose.data.preprocessing.decoding import decode_at
from lorkit.decompose.data.preprocessing.recipe import resize_image
from lorkit.decompose.data.preprocessing.streamed_decoding import StreamedDecoding, bilinear_taps, decided

Sides = tuple[int, int, int]


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**16))
def test_the_filter_is_that_of_pillow(old: int, new: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(old, 3)).astype(np.float32)
    taps = bilinear_taps(old, new)
    matrix = np.zeros((new, old))
    for place, (first, last) in enumerate(zip(taps.first, taps.last, strict=True)):
        matrix[place, first : last + 1] = taps.weights[place, : last + 1 - first]
    np.testing.assert_allclose(matrix @ values, resize_image(values, (new, 3)), atol=1e-5)
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)
    assert (np.diff(taps.last) >= 0).all()


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(*[st.integers(1, 12)] * 3), st.tuples(*[st.integers(1, 25)] * 3), st.integers(1, 5), st.integers(1, 5),
    st.integers(0, 2**16),
)  # fmt: skip
def test_pieces_give_the_mask_of_the_whole(sides: Sides, size: Sides, planes: int, rows: int, seed: int) -> None:
    """Blocks of planes and pieces of rows of any size."""
    logits = np.random.default_rng(seed).normal(0, 3, (4, *sides)).astype(np.float32)
    streamed = StreamedDecoding(4, sides, size, planes=planes)
    for block in range(0, sides[0], planes):
        for row in range(0, sides[1], rows):
            for plane in range(block, min(block + planes, sides[0])):
                streamed.take(plane, row, logits[:, plane, row : row + rows])
    shares = np.stack([resize_image(np.ascontiguousarray(own), size) for own in softmax(logits, axis=0)])
    ordered = np.sort(shares, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-5
    np.testing.assert_array_equal(streamed.mask[clear], decode_at(logits, size)[clear])
    assert clear.mean() > 0.99


def test_the_first_of_equal_values_wins() -> None:
    values = np.array([[1, 1, 0], [1, 2, 3], [0, 2, 3]], dtype=np.float32)
    np.testing.assert_array_equal(decided(values, True, 0.5), values.argmax(0))
    np.testing.assert_array_equal(decided(values, False, 0.5), [0b011, 0b111, 0b110])
