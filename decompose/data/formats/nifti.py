"""NIfTI-1 and NIfTI-2 files of untrusted origin.

A compressed file is read to its end, so that its checksum is tested before a voxel is used. Fields that scale or place
voxels must be finite, also where nibabel would ignore them.

Shapes: X Y Z the axes of the file; D H W those of a volume as networks take it (right, anterior, superior).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.data.formats.limits import check_fits
from lorkit.decompose.data.formats.nifti_header import bad_field, damaged, needed_bytes, parse
from lorkit.decompose.data.formats.stored import StoredImage
from lorkit.decompose.errors import DataError, reads, refusing_damage

SUFFIXES = (".nii", ".nii.gz")
_TO_MM = {1: 1e3, 2: 1.0, 3: 1e-3}  # the standard's codes of metres, millimetres and micrometres
_CHUNK = 1024 * 1024
_HEAD = 1024  # bytes: the larger of the two headers has 540
_MOST_BEYOND = 64 * 1024**2
_WANTED = "an intact NIfTI file"
_ZOOMS_TOLERANCE = 1e-2


def accepts(path: Path) -> bool:
    """Tell by its name whether this module reads a file."""
    return path.name.lower().endswith(SUFFIXES)


@reads(_WANTED)
def read(path: Path) -> StoredImage:
    """Read one file: (X, Y, Z), or (X, Y) where all other axes have length 1.

    Raises:
        DataError: The file is missing or damaged, a field of its header is not usable, or it holds several volumes.
    """
    image = load(path)
    with np.errstate(all="ignore"):  # what is not finite afterwards is refused where the image is used
        values = np.asarray(image.dataobj)
    if values.dtype.kind not in "buif":
        raise DataError(f"{path} has voxels of type {values.dtype}", required="plain numbers", fix="convert the file")
    values = values.reshape([side for axis, side in enumerate(values.shape) if axis < 2 or side != 1])
    dims = values.ndim
    return StoredImage(
        format="NIfTI",
        values=values,
        dims=dims,
        limits=None if values.dtype.kind == "f" else _limits(values.dtype),
        orient=partial(_orient, image.affine, image.shape) if oriented(image) else np.ascontiguousarray,
        spacing_mm=spacing(image)[:dims],
        axes=axes(image)[:dims] if oriented(image) else None,
        voxel_ml=voxel_ml(image),
        notes=tuple(_notes(image)),
        warnings=tuple(_warnings(image)),
    )


@reads(_WANTED)
def load(path: Path, *, voxels: bool = True) -> Any:
    """Open a file and check its header.

    Args:
        path: The file.
        voxels: Read the file to its end; False reads the header only.

    Returns:
        nibabel's image; voxels are converted when asked for.

    Raises:
        DataError: As `read`.
    """
    import nibabel

    head = _bytes(path, _HEAD, whole=False)
    kind, header = parse(path, head)
    needed = needed_bytes(path, header)
    if voxels:
        check_fits(path, 2 * needed, "its voxels")
    data = _bytes(path, needed) if voxels else b""
    with quiet():
        image = kind.from_bytes(data) if voxels else nibabel.load(path)
    _check_shape(path, image)
    if len(data) < needed and voxels:
        raise damaged(path, f"{len(data)} bytes, {needed} stated")
    if not abs(np.linalg.det(image.affine[:3, :3])) > 0:
        raise bad_field(path, "sform" if int(header["sform_code"]) else "qform", "a singular affine")
    return image


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what nibabel logs about headers: what matters is checked here, and said in one line."""
    import logging  # as gzip: names of files are compared with those of this format without both

    logger = logging.getLogger("nibabel.global")
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = disabled


def oriented(image: Any) -> bool:
    """Tell whether a header states an orientation; without one the axes are taken as they are stored."""
    header = image.header
    return bool(int(header["qform_code"]) or int(header["sform_code"]))


def spacing(image: Any) -> tuple[float, ...]:
    """Return the distance of neighbours along X, Y and Z in mm: from the affine, which places the voxels."""
    scale = _unit_mm(image)
    return tuple(round(float(side) * scale, 6) for side in np.linalg.norm(image.affine[:3, :3], axis=0))


def network_spacing(image: Any) -> tuple[float, ...]:
    """Return the distance of neighbours in mm along the axes of an image as networks take it.

    They are right, anterior and superior of a volume, and rows and columns of a slice as displayed; without a stated
    orientation the axes of the file.
    """
    dims = sum(axis < 2 or side != 1 for axis, side in enumerate(image.shape))
    sides = spacing(image)[:dims]
    if not oriented(image):
        return sides
    small = tuple(range(2, 2 + dims))  # another length for each axis: it tells where the axis goes
    return tuple(sides[length - 2] for length in _orient(image.affine, small, np.empty(small)).shape)


def voxel_ml(image: Any) -> float:
    """Return the volume of one voxel in millilitres, from the affine; without a unit in the header, in mm."""
    scale = _unit_mm(image)
    return float(abs(np.linalg.det(image.affine[:3, :3]))) * scale**3 / 1e3


def _unit_mm(image: Any) -> float:
    """Return the unit of the header in mm; without one, or with one that is not known, mm, as is usual."""
    return _TO_MM.get(int(image.header["xyzt_units"]) % 8, 1.0)


def _bytes(path: Path, most: int, *, whole: bool = True) -> bytes:
    """Return the first bytes of a file, decompressed; the `whole` file is read to its end, which tests its checksum."""
    import gzip

    opener: Any = gzip.open if path.name.lower().endswith(".gz") else open
    with refusing_damage(path, required=_WANTED), opener(path, "rb") as stream:
        data = _exactly(stream, most)
        left = _MOST_BEYOND if whole else 0
        while left > 0 and (part := stream.read(_CHUNK)):
            left -= len(part)
    if whole and left <= 0:
        raise DataError(
            f"{path} holds more than {_MOST_BEYOND >> 20} MiB after its voxels", required="one volume", fix="split it"
        )
    return data


def _exactly(stream: Any, count: int) -> bytes:
    """Read so many bytes of a stream that may give fewer at a time, or all that there are."""
    parts: list[bytes] = []
    while count > 0 and (part := stream.read(min(count, _CHUNK))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _check_shape(path: Path, image: Any) -> None:
    shape = tuple(image.shape)
    if len(shape) < 2 or 0 in shape or any(side != 1 for side in shape[3:]):
        raise DataError(
            f"{path} has shape {shape}",
            required="one volume of three axes per file",
            fix="split it, as nibabel.four_to_three does",
        )


def _limits(dtype: np.dtype[Any]) -> tuple[float, float] | None:
    return (0.0, float(np.iinfo(dtype).max)) if dtype in (np.uint8, np.uint16) else None


def axes(image: Any) -> str:
    """Return the anatomical direction in which each axis of a file runs, such as "LAS"."""
    import nibabel

    return "".join(letter or "?" for letter in nibabel.aff2axcodes(image.affine))


def _orient(affine_44: NDArray[Any], shape: tuple[int, ...], values: NDArray[Any]) -> NDArray[Any]:
    """Turn a volume into RAS axes; turn a slice as a display shows it (the patient's right left, front on top)."""
    from nibabel import orientations

    stored = orientations.io_orientation(affine_44)
    full = values.reshape([*shape[:3], *[1] * (3 - len(shape[:3]))])
    if np.isnan(stored).any():  # an axis that has no direction of its own
        return np.ascontiguousarray(values)
    turned = orientations.apply_orientation(full, stored)
    if values.ndim == 3:
        return np.ascontiguousarray(turned)
    flat = turned.reshape([side for side in turned.shape if side != 1] or [1])
    return np.ascontiguousarray(flat.reshape(_two_axes(turned.shape))[::-1, ::-1].T)


def _two_axes(shape: tuple[int, ...]) -> list[int]:
    kept = [side for side in shape if side != 1]
    return kept if len(kept) == 2 else [*shape[:2]]


def _notes(image: Any) -> list[str]:
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    return [] if (slope, intercept) == (1.0, 0.0) else [f"scaled by {slope:g}, plus {intercept:g}"]


def _warnings(image: Any) -> list[str]:
    """Say so where no orientation is stated, or the header states another voxel size than the affine, which is used."""
    if not oriented(image):
        return ["no orientation stated (qform_code and sform_code are 0): axes as stored"]
    found = []
    zooms = np.asarray(image.header.get_zooms()[:3], dtype=np.float64)
    sides = np.linalg.norm(image.affine[:3, :3], axis=0)[: len(zooms)]
    if not np.allclose(zooms, sides, rtol=_ZOOMS_TOLERANCE):
        stated, used = (" x ".join(f"{side:g}" for side in one) for one in (zooms, sides))
        found.append(f"pixdim states {stated} mm, the affine {used} mm: the affine is used")
    turned = _turned_by_qform(image)
    if turned is not None:
        found.append(f"its qform states axes {turned}, its sform {axes(image)}: the sform is used, others may not")
    return found


def _turned_by_qform(image: Any) -> str | None:
    """Return the axes that the qform states where the sform, which is used, states others; a viewer may use either."""
    import nibabel
    from nibabel.spatialimages import HeaderDataError

    if not int(image.header["qform_code"]) or not int(image.header["sform_code"]):
        return None
    try:
        stated = axes(nibabel.Nifti1Image(np.zeros((1, 1, 1), np.uint8), image.header.get_qform()))
    except (ValueError, HeaderDataError):  # it is not used
        return None
    return None if stated == axes(image) else stated
