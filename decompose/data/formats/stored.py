"""One image as its file states it, and the values of it that a preprocessing recipe takes.

Shapes: H rows, W columns, F frames, X Y Z the axes of a NIfTI file, D H W those of a volume as networks take it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.errors import DataError

if TYPE_CHECKING:  # the modules of this package are copied beside engines, and run there without lorkit
    from lorkit.decompose.documents.recipe import Intensity

Lookup = Callable[[NDArray[Any]], NDArray[np.float64]]
"""Maps values of an image to [0, 1]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredImage:
    """The image of one file, or of one folder of slices.

    Attributes:
        format: Name of the file format.
        values: (H, W), (H, W, 3), (F, H, W), (F, H, W, 3) or, from NIfTI, (X, Y, Z): after the file's own scaling to
            physical units, before any window and before inversion.
        dims: 2 for one picture, 3 for a volume or several frames.
        limits: The values that mean 0 and 1 where no window is stated; None where the file states none.
        lookup: The file's own window or lookup table, which replaces `limits`.
        inverted: Low values are shown bright (MONOCHROME1), and `values` still hold them so.
        was_inverted: The file stores white as zero, and `values` were inverted already.
        padding: (low, high), in the units of `values`, of pixels that hold no measurement.
        orient: Turns `values` into the axes in which networks take them.
        unplaced: Why the frames of a file are no volume: it does not state where they lie, or they lie unevenly.
        spacing_mm: Distance of neighbours along each spatial axis of `values`, in mm.
        axes: Direction in which each spatial axis of `values` runs, such as "LPS"; None where it is not stated.
        group: The patient, or what stands for it; None where the file does not state it.
        voxel_ml: Volume of one voxel in millilitres; None where it is not stated.
        unit: Unit of `values`, such as HU; None where it is not stated.
        notes: What was applied or ignored, in short sentences.
        warnings: What may make the values or their places wrong: `predict` says it too.
    """

    format: str
    values: NDArray[Any]
    dims: int = 2
    limits: tuple[float, float] | None = None
    lookup: Lookup | None = None
    inverted: bool = False
    was_inverted: bool = False
    padding: tuple[float, float] | None = None
    orient: Callable[[NDArray[Any]], NDArray[Any]] = np.ascontiguousarray
    unplaced: str | None = None
    spacing_mm: tuple[float, ...] | None = None
    axes: str | None = None
    group: str | None = None
    voxel_ml: float | None = None
    unit: str | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def float32(self) -> NDArray[np.float32]:
        """The values in C order, little endian."""
        with np.errstate(over="ignore"):  # what is infinite is refused where the image is used
            return np.ascontiguousarray(self.values, dtype="<f4")

    @property
    def sha256(self) -> str:
        """Digest of `float32`, without shape."""
        return hashlib.sha256(self.float32.tobytes()).hexdigest()


def network_values(image: StoredImage, intensity: Intensity, where: str, dims: int | None = None) -> NDArray[Any]:
    """Return the values that a recipe with this `intensity` step takes.

    A stated window wins over the file's own window or lookup table, which wins over the range that is stored. Padding
    becomes the darkest value. An inverted image is inverted last.

    Args:
        image: The image.
        intensity: First step of the recipe.
        where: Name of the file, for messages.
        dims: 2 where the recipe is of pictures, 3 where it is of volumes; None leaves the check to others.

    Returns:
        (H, W), (H, W, 3) or (D, H, W) of uint8, uint16 or float32.

    Raises:
        DataError: A volume where the recipe is of pictures, or the other way round; frames without places; the file's
            window is not usable.
    """
    if dims not in (None, image.dims):
        raise _other_dims(image, where)
    if image.unplaced is not None:
        raise DataError(
            f"{where}: {image.unplaced}",
            required="frames with stated positions at equal distances for a volume, or one frame for a picture",
            fix="convert it with dcm2niix, one file per volume, or export single frames",
        )
    values = image.orient(image.values)
    if image.padding is not None:
        values = _without_padding(values, image.padding, image.inverted)
    if intensity.rule == "window":
        low, high = intensity.bounds
        return (low + high - values.astype(np.float64) if image.inverted else values).astype(np.float32)
    if intensity.rule == "percentile":
        return np.negative(values, dtype=np.float32) if image.inverted else _native(values)
    if image.lookup is None and not image.inverted and _is_own_range(values, image.limits):
        return _native(values)
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused where the image is used
            unit = _to_unit(image, values)
    except (ValueError, ArithmeticError) as error:
        raise DataError(
            f"{where}: {error}", required="a usable window in the file", fix="correct it, or state the region's window"
        ) from None
    return (1.0 - unit if image.inverted else unit).astype(np.float32)


def _to_unit(image: StoredImage, values: NDArray[Any]) -> NDArray[np.float64]:
    if image.lookup is not None:
        return image.lookup(values)
    if image.limits is None:
        return values.astype(np.float64)
    low, high = image.limits
    unit: NDArray[np.float64] = np.clip((values.astype(np.float64) - low) / (high - low), 0.0, 1.0)
    return unit


def _is_own_range(values: NDArray[Any], limits: tuple[float, float] | None) -> bool:
    """Tell whether the recipe's rule for the dtype already divides by the range that the file states."""
    if limits is None:
        return True
    return values.dtype in (np.uint8, np.uint16) and limits == (0.0, float(np.iinfo(values.dtype).max))


def _native(values: NDArray[Any]) -> NDArray[Any]:
    values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    with np.errstate(over="ignore"):
        return values if values.dtype in (np.uint8, np.uint16, np.float32) else values.astype(np.float32)


def _without_padding(values: NDArray[Any], padding: tuple[float, float], inverted: bool) -> NDArray[Any]:
    padded = (values >= padding[0]) & (values <= padding[1])
    if not padded.any() or padded.all():
        return values
    rest = values[~padded]
    return np.where(padded, rest.max() if inverted else rest.min(), values)


def _other_dims(image: StoredImage, where: str) -> DataError:
    shape = "x".join(map(str, image.values.shape))
    if image.dims == 3:
        return DataError(
            f"{where} is a volume or holds several frames ({shape})",
            required="one picture per file, because image.size has two entries",
            fix="export one slice or frame of it, or train on volumes (image.size with three entries)",
        )
    return DataError(
        f"{where} is a picture ({shape})",
        required="a volume, because image.size has three entries: a NIfTI file or a folder of DICOM slices",
        fix="name such a file, or use an expert of pictures",
    )
