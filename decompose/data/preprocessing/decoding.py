"""Decode masks from logits as `predict` writes them: at the size of the image, not of the network.

With numpy, scipy and Pillow, and without torch. A mask is uint8: 0 for background, 1 to S for the structures.

Shapes: S structures; logits are (1 + S, *spatial), masks (*spatial).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import softmax

from lorkit.decompose.artifacts.arrays import Float32Array, Mask
from lorkit.decompose.data.preprocessing.recipe import resize_image


def decode(logits: Float32Array) -> Mask:
    """Return the mask of one image's logits (1 + S, *spatial): the most probable structure of each pixel."""
    mask: Mask = logits.argmax(axis=0).astype(np.uint8)
    return mask


def decode_at(logits: Float32Array, size: Sequence[int]) -> Mask:
    """Return the mask of one image's logits at another size than the network's.

    Probabilities are interpolated linearly before the most probable structure is taken, which gives smooth outlines.
    One structure at a time is stored at the target size.

    Args:
        logits: (1 + S, *spatial).
        size: Size of the mask, as many sides as `spatial` has.
    """
    if logits.shape[1:] == tuple(size):
        return decode(logits)
    shares = softmax(logits.astype(np.float32), axis=0)
    best = _resized(shares[0], size)
    mask: Mask = np.zeros(tuple(size), dtype=np.uint8)
    for structure in range(1, len(shares)):
        share = _resized(shares[structure], size)
        mask[share > best] = structure
        np.maximum(best, share, out=best)
    return mask


def _resized(plane: Float32Array, size: Sequence[int]) -> Float32Array:
    return np.array(resize_image(np.ascontiguousarray(plane), list(size)))  # Pillow's array is read-only
