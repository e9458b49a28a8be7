"""Digests of images: what a split, a cache and a leak know an image by.

Shapes: an image is (H, W), (H, W, 3) or a volume (D, H, W); N images.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.data.formats.checks import check_image
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import DataError


def digest_image(image: NDArray[Any]) -> str:
    """Return the SHA-256 of dtype, shape and pixels, in little-endian order on every machine."""
    plain = np.ascontiguousarray(image, dtype=image.dtype.newbyteorder("<"))
    return hashlib.sha256(f"{plain.dtype.name}{plain.shape}".encode() + plain.tobytes()).hexdigest()


def digested(
    name: str, source: Source, dims: int, *, what: str = "sample"
) -> tuple[tuple[str, ...], NDArray[np.bool_]]:
    """Check each image of a source; return their digests, and (N,) which have no colours.

    Args:
        name: The region.
        source: Its images.
        dims: 2 or 3.
        what: What messages call an image.

    Raises:
        DataError: An image cannot be used.
    """
    digests, gray = zip(*(_digest(name, source, index, dims, what) for index in range(len(source.labels))), strict=True)
    return digests, np.array(gray)


def _digest(name: str, source: Source, index: int, dims: int, what: str) -> tuple[str, bool]:
    image = source.images[index]
    try:
        # before training, which a broken image of the test part would otherwise follow
        check_image(image, dims)
    except DataError as error:
        where = f"{what} '{source.ids[index]}' of region '{name}'"
        raise DataError(f"{where}: {error.given}", required=error.required, fix=error.fix) from None
    return digest_image(image), image.ndim == dims
