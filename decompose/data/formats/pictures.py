"""Pictures of untrusted origin as a viewer shows them: PNG, JPEG, BMP and TIFF, 8 or 16 bit, gray or RGB.

The orientation in EXIF is applied, and a TIFF in which zero is white is inverted. A 16-bit RGB file is read with 8
bits per channel, which is what Pillow decodes.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffTags

from lorkit.decompose.data.formats.stored import StoredImage
from lorkit.decompose.errors import DataError, reads

FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
MAX_PIXELS = 64 * 1024 * 1024
_ORIENTATION = ExifTags.Base.Orientation
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TAGS = {info.name: tag for tag, info in TiffTags.TAGS_V2.items()}
_WHITE_IS_ZERO = 0


def accepts(path: Path) -> bool:
    """Tell by its name whether this module reads a file."""
    return path.name.lower().endswith(SUFFIXES)


@reads(f"an intact {', '.join(FORMATS)} file of at most {MAX_PIXELS} pixels", said="cannot be decoded")
def read(path: Path) -> StoredImage:
    """Decode one file to (H, W) uint8, uint16 or float32, or to (H, W, 3) uint8.

    Raises:
        DataError: The file is missing, damaged, no still image of a known format, or larger than `MAX_PIXELS`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata; the size is judged below
        with Image.open(path, formats=FORMATS) as image:
            _check_container(path, image)
            return _decode(path, image)


def _check_container(path: Path, image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels")
    frames = getattr(image, "n_frames", 1)
    if frames != 1:
        raise DataError(
            f"{path} holds {frames} frames", required="one image per file", fix="split it or export one frame"
        )


def _decode(path: Path, image: Image.Image) -> StoredImage:
    name = str(image.format)
    white_is_zero = name == "TIFF" and _tag(image, "PhotometricInterpretation") == _WHITE_IS_ZERO
    mode = image.mode
    deep = mode in ("RGB", "RGBA") and any("16" in str(tile[-1]) for tile in getattr(image, "tile", ()))
    turn = _take_orientation(image)
    upright = image.transpose(_TURNS[turn]) if turn in _TURNS else image
    values = _values(path, _without_alpha(path, upright))
    if white_is_zero and mode not in ("1", "L"):  # Pillow inverts those two itself
        values = _inverted(path, values, image)
    notes = (
        *([f"EXIF orientation {turn}: turned upright"] if turn in _TURNS else []),
        *([f"EXIF orientation {turn} has no meaning: ignored"] if turn not in (1, *_TURNS) else []),
        *(["16 bits per channel: read with 8"] if deep else []),
        *(["white is zero: inverted"] if white_is_zero else []),
    )
    return StoredImage(format=name, values=values, was_inverted=white_is_zero, notes=notes)


def _take_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an image that is not decoded yet, and let it be decoded as it is stored.

    Pillow turns a TIFF itself while it decodes it, and scrambles one that is not compressed (seen in Pillow 13).
    """
    orientation = int(image.getexif().get(_ORIENTATION, 1))
    if image.format == "TIFF" and orientation != 1:
        del cast(Any, image).tag_v2[_ORIENTATION]
        del image.getexif()[_ORIENTATION]
        image._size = (int(_tag(image, "ImageWidth")), int(_tag(image, "ImageLength")))
    return orientation


def _tag(image: Image.Image, name: str, default: Any = None) -> Any:
    tags: Any = getattr(image, "tag_v2", {})
    return tags.get(_TAGS[name], default)


def _inverted(path: Path, values: NDArray[Any], image: Image.Image) -> NDArray[Any]:
    if values.dtype != np.uint16:
        raise DataError(
            f"{path} has {values.dtype} pixels in which zero is white",
            required="8 or 16 bit where zero is white",
            fix="convert it to a TIFF in which zero is black",
        )
    bits = int(_tag(image, "BitsPerSample", (16,))[0])
    return np.uint16(2**bits - 1) - values


def _values(path: Path, image: Image.Image) -> NDArray[Any]:
    if image.mode in ("1", "L"):
        return np.array(image if image.mode == "L" else image.convert("L"))
    if image.mode == "P":
        return np.array(image.convert("RGB"))
    if image.mode == "RGB":
        return np.array(image)
    values = np.array(image)
    if image.mode.startswith("I;16"):
        return values.astype(np.uint16)
    if image.mode in ("I", "F"):  # 32-bit integers state no range, as floating values do not
        return values.astype(np.float32)
    raise DataError(
        f"{path} has pixels of mode {image.mode}", required="gray or RGB of 8 or 16 bit", fix="convert the file"
    )


def _without_alpha(path: Path, image: Image.Image) -> Image.Image:
    """Drop a fully opaque alpha channel; what lies under a transparent one is not defined."""
    if "transparency" in image.info and image.mode in ("L", "P", "RGB"):
        plain = image.copy()
        plain.info.pop("transparency")
        _without_alpha(path, image.convert("RGBA"))  # raises where a pixel has the transparent colour
        return plain
    if image.mode not in ("LA", "RGBA"):
        return image
    if image.getchannel("A").getextrema() != (255, 255):
        raise DataError(
            f"{path} has transparent pixels", required="an opaque image", fix="flatten it onto a background"
        )
    return image.convert(image.mode[:-1])
