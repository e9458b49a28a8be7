"""Decode masks from logits as `predict` writes them: at the size of the image, not of the network.

With numpy, scipy and Pillow, and without torch. A mask is uint8, 0 for background and 1 to S for the structures, or
uint32 with a bit for each structure where they may overlap (not `exclusive`); see `artifacts.masks`.

Shapes: S structures; logits are (1 + S, *spatial), or (S, *spatial) of structures that may overlap; masks (*spatial).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lorkit.decompose.artifacts.arrays import Bits, Float32Array, Mask
from lorkit.decompose.artifacts.masks import join_structures
from lorkit.decompose.data.preprocessing.recipe import resize_image
from lorkit.decompose.metrics.probabilities import expit, softmax


def decode(logits: Float32Array, *, exclusive: bool = True) -> Mask | Bits:
    """Return the mask of one image's logits: the most probable structure of each pixel, or each above one half."""
    if not exclusive:
        return join_structures(logits > 0)
    mask: Mask = logits.argmax(axis=0).astype(np.uint8)
    return mask


def decode_at(logits: Float32Array, size: Sequence[int], *, exclusive: bool = True) -> Mask | Bits:
    """Return the mask of one image's logits at another size than the network's.

    Probabilities are interpolated linearly before the most probable structure is taken, or each above one half, which
    gives smooth outlines. One structure at a time is stored at the target size.

    Args:
        logits: (1 + S, *spatial), or (S, *spatial) if not `exclusive`.
        size: Size of the mask, as many sides as `spatial` has.
        exclusive: Whether a pixel has one structure at most; else structures may overlap.
    """
    if logits.shape[1:] == tuple(size):
        return decode(logits, exclusive=exclusive)
    if not exclusive:
        return join_structures(_resized(expit(plane.astype(np.float32)), size) > 0.5 for plane in logits)
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
