"""Reader of NIfTI pairs: a folder with `images` and `labels` (or `imagesTr` and `labelsTr`), one file per case in each.

Files are paired by name; image names may end in nnU-Net's `_0000`. Both are turned to RAS axes by their affines. An
optional `dataset.json` names the structures as the Medical Segmentation Decathlon or nnU-Net does. Each case is a
group, because the files do not state patients.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.readers.image_files import FileImages
from lorkit.decompose.data.samples.annotations import as_mask, without_background
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import DataError

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage

LAYOUTS = (("images", "labels"), ("imagesTr", "labelsTr"))
SUFFIXES = (".nii.gz", ".nii")
_CHANNEL = "_0000"
_TOLERANCE = 1e-2  # of affines, in mm: headers are rounded


def accepts(entries: list[str]) -> int:
    """Return the number of leading data entries that this reader takes: 1 for a folder in this layout."""
    return int(_layout(Path(entries[0])) is not None)


def read(entries: list[str], config: RegionConfig) -> Source:
    """Pair the files of a folder; voxels are read on access.

    Raises:
        DataError: An image has no mask or a mask no image, a case has several channels, or the two have different
            grids.
    """
    del config
    root = Path(entries[0])
    layout = _layout(root)
    assert layout is not None
    images, masks = (_cases(root / name) for name in layout)
    for one, other, what in ((images, masks, "mask"), (masks, images, "image")):
        missing = sorted(one.keys() - other.keys())
        if missing:
            where = root / layout[0 if what == "image" else 1]
            raise DataError(
                f"no {what} file for case '{missing[0]}' in {where} ({len(missing)} in total)",
                required="an image and a mask of the same name for every case",
                fix="add the file, or remove its counterpart",
            )
    ids = tuple(sorted(images))
    for case in ids:
        _check_grid(images[case], masks[case])
    return Source(
        images=Volumes([images[case] for case in ids]),
        labels=np.zeros(len(ids), dtype=np.int64),
        classes=_structures(root / "dataset.json"),
        ids=ids,
        groups=ids,
        parts=(None,) * len(ids),
        origin=str(root),
        masks=MaskVolumes([masks[case] for case in ids]),
    )


class Volumes(FileImages):
    """Volumes in NIfTI files, in RAS axes."""

    def decode(self, path: Path) -> NDArray[Any]:
        """Read a file to (D, H, W) uint8, uint16 or float32."""
        return read_volume(path)


class MaskVolumes(FileImages):
    """Masks in NIfTI files, in RAS axes."""

    def decode(self, path: Path) -> NDArray[Any]:
        """Read a file to (D, H, W) uint8."""
        return as_mask(read_volume(path), str(path))


def read_volume(path: Path) -> NDArray[Any]:
    """Read a NIfTI file in RAS axes to (D, H, W) uint8, uint16 or float32; a last axis of length 1 is dropped.

    Raises:
        DataError: The file is missing, damaged, or has a time series or several channels.
    """
    import nibabel

    image: Any = nibabel.as_closest_canonical(open_volume(path))
    try:
        values = np.asarray(image.dataobj)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path, error) from None
    if values.dtype.kind not in "buif":
        raise DataError(f"{path} has voxels of type {values.dtype}", required="plain numbers", fix="convert the file")
    values = values.reshape(values.shape[:3])
    native = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    return native if native.dtype in (np.uint8, np.uint16, np.float32) else native.astype(np.float32)


def open_volume(path: Path) -> SpatialImage:
    """Open a NIfTI file without reading voxels; raise DataError if it is missing, damaged or not one volume."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        image = cast("SpatialImage", nibabel.load(path))
    except FileNotFoundError:
        raise DataError(f"no volume at {path}", required="a NIfTI file", fix="check the path") from None
    except (OSError, ValueError, EOFError, ImageFileError) as error:
        raise _damaged(path, error) from None
    shape = tuple(image.shape)
    if len(shape) < 3 or any(side != 1 for side in shape[3:]):
        raise DataError(
            f"{path} has shape {shape}", required="one volume of three axes per file", fix="split it into such files"
        )
    return image


def _layout(root: Path) -> tuple[str, str] | None:
    for layout in LAYOUTS:
        if all((root / name).is_dir() for name in layout) and any(_files(root / layout[0])):
            return layout
    return None


def _files(folder: Path) -> list[Path]:
    # macOS adds ._ files to unpacked archives
    return sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIXES) and not path.name.startswith("."))


def _cases(folder: Path) -> dict[str, Path]:
    cases: dict[str, Path] = {}
    for path in _files(folder):
        stem = path.name.removesuffix(".gz").removesuffix(".nii")
        if stem[:-1].endswith(_CHANNEL[:-1]) and stem[-1:].isdigit() and not stem.endswith(_CHANNEL):
            raise DataError(
                f"{path} is another channel of the same case", required="one channel per case", fix="leave it out"
            )
        case = stem.removesuffix(_CHANNEL)
        if case in cases:
            raise DataError(f"{path} and {cases[case].name} are the same case", required="one file", fix="remove one")
        cases[case] = path
    return cases


def _check_grid(image: Path, mask: Path) -> None:
    one, two = open_volume(image), open_volume(mask)
    if one.shape[:3] != two.shape[:3]:
        raise DataError(
            f"{mask} has shape {two.shape} for an image of {one.shape}",
            required="a value for every voxel of the image",
            fix="repair the pair or leave it out",
        )
    assert one.affine is not None
    assert two.affine is not None
    if not np.allclose(one.affine, two.affine, atol=_TOLERANCE):
        raise DataError(
            f"{mask} and its image have different affines",
            required="equal affines of an image and its mask",
            fix="resample the mask onto its image, or correct the header",
        )


def _structures(path: Path) -> tuple[str, ...]:
    """Return the names of the values 1, 2, ... in `dataset.json`; empty without the file."""
    if not path.is_file():
        return ()
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))["labels"]
        # MSD maps numbers to names, nnU-Net names to numbers
        named = {int(key): str(text) for key, text in labels.items()} if "0" in labels else {}
        named = named or {int(value): str(key) for key, value in labels.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} names no labels ({type(error).__name__})",
            required="labels: numbers to names, or names to numbers",
            fix="correct it, or remove it and state structures",
        ) from None
    if sorted(named) != list(range(len(named))):
        raise DataError(
            f"{path} names the labels {', '.join(map(str, sorted(named)))}",
            required="numbers from 0 without a gap",
            fix="renumber them",
        )
    return without_background(tuple(named[value] for value in sorted(named)))


def _damaged(path: Path, error: BaseException) -> DataError:
    return DataError(
        f"{path} cannot be read ({type(error).__name__}: {error})", required="an intact NIfTI file", fix="replace it"
    )
