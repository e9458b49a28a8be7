"""Masks: where the most probable structure lies at other sizes, and how they are written."""

from __future__ import annotations

import numpy as np

from lorkit.decompose.metrics.segmentation import mask_dice
from lorkit.export.prediction.masks import decode_at


def test_dice_and_masks_at_other_sizes() -> None:
    found, wanted = np.array([[1, 1], [0, 2]]), np.array([[1, 0], [0, 0]])
    np.testing.assert_allclose(mask_dice(found, wanted, 3), [2 / 3, 0.0, np.nan])
    logits = np.zeros((2, 4, 4), dtype=np.float32)
    logits[1, :, :2], logits[1, :, 2:] = 5.0, -5.0
    large = decode_at(logits, (8, 12))
    assert large.shape == (8, 12)
    assert large[:, :6].all()
    assert not large[:, 6:].any()
