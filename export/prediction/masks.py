"""Masks of structures: decode them from logits, at another size too, write and draw them.

Only numpy, scipy and Pillow, so that exports are used without torch. A mask is uint8, with 0 for background and 1 to S
for the structures.

Shapes: S structures; logits are (1 + S, *spatial), masks (*spatial).
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.special import softmax

from lorkit.decompose.artifacts.arrays import Float32Array, Mask
from lorkit.decompose.data.preprocessing.recipe import resize_image

_COLOURS = (
    (0, 0, 0), (0, 114, 178), (230, 120, 0), (0, 158, 115), (204, 90, 160), (240, 228, 66), (86, 180, 233),
    (150, 90, 40),
)  # fmt: skip


def colour(structure: int) -> tuple[int, int, int]:
    """Return the (red, green, blue) of a structure; background is black.

    The first seven can be distinguished with colour blindness (Okabe and Ito); then they repeat.
    """
    return _COLOURS[0] if structure == 0 else _COLOURS[1 + (structure - 1) % (len(_COLOURS) - 1)]


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


def png(mask: Mask) -> bytes:
    """Return a mask (H, W) as PNG with a palette: pixels are the structure's index, viewers show its colour."""
    image = Image.fromarray(mask, mode="P")
    image.putpalette([value for structure in range(256) for value in colour(structure)])
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of a (H, W) region that touch its outside; the border of the image counts as inside."""
    inner: NDArray[np.bool_] = ndimage.binary_erosion(mask, border_value=1)
    return mask & ~inner


def _resized(plane: Float32Array, size: Sequence[int]) -> Float32Array:
    return np.array(resize_image(np.ascontiguousarray(plane), list(size)))  # Pillow's array is read-only
