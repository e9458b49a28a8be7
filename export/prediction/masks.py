"""Masks of structures as pictures: colours, files and outlines.

Only numpy, scipy and Pillow, so that exports are used without torch. A mask is uint8, with 0 for background and 1 to S
for the structures.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lorkit.decompose.artifacts.arrays import Mask

_COLOURS = (
    (0, 0, 0), (0, 114, 178), (230, 120, 0), (0, 158, 115), (204, 90, 160), (240, 228, 66), (86, 180, 233),
    (150, 90, 40),
)  # fmt: skip


def colour(structure: int) -> tuple[int, int, int]:
    """Return the (red, green, blue) of a structure; background is black.

    The first seven can be distinguished with colour blindness (Okabe and Ito); then they repeat.
    """
    return _COLOURS[0] if structure == 0 else _COLOURS[1 + (structure - 1) % (len(_COLOURS) - 1)]


def png(mask: Mask) -> bytes:
    """Return a mask (H, W) as PNG with a palette: pixels are the structure's index, viewers show its colour."""
    image = Image.fromarray(mask, mode="P")
    image.putpalette([value for structure in range(256) for value in colour(structure)])
    return encode_png(image)


def encode_png(image: Image.Image) -> bytes:
    """Return a picture as PNG."""
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of a (H, W) region that touch its outside; the border of the image counts as inside."""
    from scipy import ndimage

    inner: NDArray[np.bool_] = ndimage.binary_erosion(mask, border_value=1)
    return mask & ~inner
