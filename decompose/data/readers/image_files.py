"""Decode untrusted image files to arrays: PNG, JPEG, BMP and TIFF, 8 or 16 bit, gray or RGB.

Pixels are used as stored; metadata (EXIF orientation included) is ignored. Pillow decodes 16-bit RGB files with 8 bits
per channel.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lorkit.decompose.errors import DataError

FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
MAX_PIXELS = 64 * 1024 * 1024
_CACHE_BYTES = 512 * 1024 * 1024
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, struct.error, zlib.error, OverflowError)


def read_image(path: Path) -> NDArray[Any]:
    """Decode one file to (H, W) uint8, uint16 or float32, or to (H, W, 3) uint8.

    Raises:
        DataError: The file is missing, damaged, not a still image of a known format, or larger than `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's warnings on metadata; the size is checked below
            with Image.open(path, formats=FORMATS) as image:
                _check_container(path, image)
                return _to_array(path, image)
    except FileNotFoundError:
        raise DataError(f"no image at {path}", required="an image file", fix="check the path") from None
    except (*_DAMAGE, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} cannot be decoded ({type(error).__name__}: {error})",
            required=f"an intact {', '.join(FORMATS)} file of at most {MAX_PIXELS} pixels",
            fix="replace the file or leave it out",
        ) from None


class FileImages:
    """Image files, decoded at first use and kept in memory within a budget."""

    def __init__(self, paths: Sequence[Path], cache_bytes: int = _CACHE_BYTES) -> None:
        self.paths = tuple(paths)
        self._cache: dict[int, NDArray[Any]] = {}
        self._left = cache_bytes

    def __len__(self) -> int:
        return len(self.paths)

    def decode(self, path: Path) -> NDArray[Any]:
        """Read one file."""
        return read_image(path)

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        kept = self._cache.get(index)
        if kept is not None:
            return kept
        image = self.decode(self.paths[index])
        if image.nbytes <= self._left:
            self._left -= image.nbytes
            self._cache[index] = image
        return image


def within(root: Path, path: Path, where: str) -> Path:
    """Return the resolved `path`; raise DataError if links or '..' lead out of `root`."""
    try:
        resolved = path.resolve()
        resolved.exists()  # raises for names that are too long for the system
    except (ValueError, OSError) as error:  # a NUL byte, a name that is too long, a loop of links
        raise DataError(
            f"{where}: {str(path)[:80]!r} is not a path ({error})", required="paths of images", fix="correct the row"
        ) from None
    if not resolved.is_relative_to(root.resolve()):
        raise DataError(
            f"{where}: {path} lies outside {root}",
            required="images below the stated root",
            fix="state a root that contains all of them",
        )
    return resolved


def _check_container(path: Path, image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels")
    frames = getattr(image, "n_frames", 1)
    if frames != 1:
        raise DataError(
            f"{path} holds {frames} frames", required="one image per file", fix="split it or export one frame"
        )


def _to_array(path: Path, image: Image.Image) -> NDArray[Any]:
    image = _without_alpha(path, image)
    if image.mode in ("1", "L"):
        return np.array(image.convert("L"))
    if image.mode == "P":
        return np.array(image.convert("RGB"))
    if image.mode == "RGB":
        return np.array(image)
    values = np.array(image)
    if image.mode.startswith("I;16"):
        return values.astype(np.uint16)
    if image.mode == "I" and values.min() >= 0 and values.max() <= 65535:
        return values.astype(np.uint16)
    if image.mode == "F":
        return values.astype(np.float32)
    raise DataError(
        f"{path} has pixels of mode {image.mode}", required="gray or RGB of 8 or 16 bit", fix="convert the file"
    )


def _without_alpha(path: Path, image: Image.Image) -> Image.Image:
    """Drop a fully opaque alpha channel; pixels under a transparent one are undefined."""
    if image.mode not in ("LA", "RGBA"):
        return image
    if image.getchannel("A").getextrema() != (255, 255):
        raise DataError(
            f"{path} has transparent pixels", required="an opaque image", fix="flatten it onto a background"
        )
    return image.convert(image.mode[:-1])
