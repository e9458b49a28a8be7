"""What the values of an image must be for a recipe: shape, dtype, finite values, and their range without a window."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.errors import DataError

RANGES = {"uint8": 255.0, "uint16": 65535.0}
_THINNEST = 4  # voxels: a thinner "volume" is a 2D image with colour as last axis


def unit_range(image: NDArray[Any]) -> tuple[float, float]:
    """Return the values of an image without stated units that become 0 and 1.

    Raises:
        DataError: It is floating outside [0, 1].
    """
    if (largest := RANGES.get(image.dtype.name)) is not None:
        return 0.0, largest
    if float(image.min()) < 0.0 or float(image.max()) > 1.0:
        raise DataError(
            f"{image.dtype.name} image with values {image.min():.6g} to {image.max():.6g}",
            required="values in [0, 1], or stated units",
            fix="set the region's window: [low, high], or intensity: percentile",
        )
    return 0.0, 1.0


def check_image(image: NDArray[Any], sides: int) -> None:
    """Raise DataError for a shape or dtype that no recipe takes, and for NaN or infinity.

    Args:
        image: As stored.
        sides: Entries of `image.size`: 2 for images, 3 for volumes.
    """
    if sides == 3 and (image.ndim != 3 or min(image.shape) < _THINNEST):
        raise DataError(
            f"image of shape {tuple(image.shape)}, read as a volume because image.size has three entries",
            required=f"(D, H, W), {_THINNEST} voxels or more along each axis",
            fix="convert it, or give image.size two entries for 2D images",
        )
    if sides == 2 and (image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or 0 in image.shape):
        raise DataError(
            f"image of shape {tuple(image.shape)}, read as a 2D image because image.size has two entries",
            required="(H, W) gray or (H, W, 3) RGB",
            fix="convert it to 2D gray or RGB, or give image.size three entries for volumes",
        )
    if image.dtype.name not in RANGES and image.dtype.kind != "f":
        raise DataError(
            f"image of dtype {image.dtype.name}", required="uint8, uint16 or float32", fix="convert it to one of them"
        )
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise DataError(
            "image with NaN or infinite pixels", required="finite values", fix="repair the image or leave it out"
        )
