"""Where the most probable structure lies at other sizes than the network's."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from lorkit.decompose.data.preprocessing.decoding import decode, decode_at


def test_masks_at_other_sizes() -> None:
    logits = np.zeros((2, 4, 4), dtype=np.float32)
    logits[1, :, :2], logits[1, :, 2:] = 5.0, -5.0
    large = decode_at(logits, (8, 12))
    assert large.shape == (8, 12)
    assert large[:, :6].all()
    assert not large[:, 6:].any()


@given(st.integers(0, 2**31), st.tuples(st.integers(3, 9), st.integers(3, 9), st.integers(3, 9)), st.booleans())
def test_probabilities_are_interpolated_then_the_largest_is_taken(
    seed: int, size: tuple[int, int, int], volume: bool
) -> None:
    """Equal to torch's interpolation of the softmax; at the network's own size nothing is interpolated."""
    spatial = (4, 5, 6) if volume else (5, 6)
    target = size if volume else size[1:]
    logits = np.random.default_rng(seed).normal(0, 3, (3, *spatial)).astype(np.float32)
    np.testing.assert_array_equal(decode_at(logits, spatial), logits.argmax(0))
    np.testing.assert_array_equal(decode(logits), logits.argmax(0))
    larger = tuple(new + old for new, old in zip(target, spatial, strict=True))  # no filter that widens
    mode = "trilinear" if volume else "bilinear"
    shares = interpolate(torch.from_numpy(logits).softmax(0)[None], larger, mode=mode)[0].numpy()
    ordered = np.sort(shares, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-4
    np.testing.assert_array_equal(decode_at(logits, larger)[clear], shares.argmax(0)[clear])


def test_structures_that_overlap_are_decoded_each_alone() -> None:
    """Each structure as the only one of a network with two outputs, whose softmax of (0, x) is the sigmoid of x."""
    rng = np.random.default_rng(0)
    for size, spatial in (((9, 7), (6, 5)), ((6, 5), (6, 5)), ((5, 9, 4), (6, 5, 7))):
        logits = rng.normal(size=(3, *spatial)).astype(np.float32)
        mask = decode_at(logits, size, exclusive=False)
        assert (mask.dtype, mask.shape) == (np.uint32, size)
        for index, plane in enumerate(logits):
            alone = decode_at(np.stack([np.zeros_like(plane), plane]), size)
            np.testing.assert_array_equal(mask >> index & 1, alone)
