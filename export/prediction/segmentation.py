"""Predictions of a segmentation network: a mask on the grid of each image, and the size of each structure.

A mask is computed at the network's size: probabilities are interpolated to the image's size, and a NIfTI file's
orientation is restored, so that image and mask match in any viewer.

Shapes: S structures; a mask is (H, W), or a volume in the order of the file's axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lorkit.decompose.artifacts import write_bytes
from lorkit.decompose.artifacts.arrays import Float32Array, Mask
from lorkit.decompose.data.formats import nifti
from lorkit.decompose.data.formats.nifti_grid import nifti_bytes
from lorkit.decompose.data.preprocessing.decoding import decode_at
from lorkit.decompose.documents.predict import PredictDocument, SegmentedImage, StructureSize
from lorkit.decompose.errors import UsageError
from lorkit.decompose.regions import Region
from lorkit.export.prediction.classification import cell
from lorkit.export.prediction.masks import png
from lorkit.export.prediction.network import PreparedImage


def mask_names(paths: Sequence[Path], names: Sequence[str], out: Path) -> list[str]:
    """Return the file name of each image's mask: `.nii.gz` for NIfTI, else `.png`.

    Raises:
        UsageError: A mask would replace one of the images.
    """
    found = [f"{name}{'.nii.gz' if nifti.accepts(path) else '.png'}" for path, name in zip(paths, names, strict=True)]
    taken = {path.resolve() for path in paths}
    for name in found:
        if (out / name).resolve() in taken:
            raise UsageError(
                f"the mask {out / name} would replace an image",
                required="a directory without the images",
                fix="name another one with --out",
            )
    return found


def row(region: Region, image: PreparedImage, logits: Float32Array | None, target: Path | None) -> SegmentedImage:
    """Return the sizes of the structures in an image, and write its mask; as `masked_row` without the mask."""
    return masked_row(region, image, logits, target)[0]


def masked_row(
    region: Region, image: PreparedImage, logits: Float32Array | None, target: Path | None
) -> tuple[SegmentedImage, Mask | None]:
    """Return the sizes of the structures in an image, and its mask in the axes of the image as read; write the mask.

    Args:
        region: The region of the network.
        image: The image.
        logits: Its (1 + S, *spatial); None refuses it.
        target: File of the mask; None only measures it.

    Raises:
        UsageError: A mask of a DICOM volume is to be written.
    """
    mask = None if logits is None else decode_at(logits, image.size)
    if mask is not None and target is not None:
        write_bytes(target, _mask_bytes(mask, image.path))
    row = SegmentedImage(
        input=str(image.path),
        mask=None if mask is None or target is None else target.name,
        size=list(image.size),
        structures=None if mask is None else _measure(region.classes, mask, image.voxel_ml),
        **image.check._asdict(),
    )
    return row, mask


def table(document: PredictDocument) -> list[list[str]]:
    """Return the lines of `predictions.csv`, the header first: pixels, or voxels and millilitres, by structure."""
    rows = [row for row in document.predictions if isinstance(row, SegmentedImage)]
    sizes = [size for row in rows for size in (row.structures or {}).values()]
    units = [unit for unit in ("pixels", "voxels", "ml") if any(getattr(size, unit) is not None for size in sizes)]
    columns = [(name, unit) for name in document.classes for unit in units]
    lines = [["input", "mask", "out_of_region", *(f"{unit}_{name}" for name, unit in columns)]]
    for row in rows:
        found = row.structures or {}
        values = [getattr(found[name], unit) if name in found else None for name, unit in columns]
        written = ["" if value is None else f"{value:.4f}" if unit == "ml" else str(value)
                   for value, (_, unit) in zip(values, columns, strict=True)]  # fmt: skip
        lines.append([row.input, row.mask or "", cell(row.out_of_region), *written])
    return lines


def _mask_bytes(mask: Mask, path: Path) -> bytes:
    if nifti.accepts(path):
        return nifti_bytes(mask, path)
    if mask.ndim == 3:
        raise UsageError(
            f"{path} is a DICOM volume",
            required="a NIfTI file where masks of volumes are written",
            fix="convert it with dcm2niix, or leave out --out",
        )
    return png(mask)


def _measure(structures: Sequence[str], mask: Mask, voxel_ml: float | None) -> dict[str, StructureSize]:
    """Count the pixels of each structure; for a volume voxels and, where the file states their size, millilitres."""
    counts = np.bincount(mask.ravel(), minlength=len(structures) + 1)[1:]
    if mask.ndim == 2:
        return {name: StructureSize(pixels=int(count)) for name, count in zip(structures, counts, strict=True)}
    return {
        name: StructureSize(voxels=int(count), ml=None if voxel_ml is None else round(float(count) * voxel_ml, 6))
        for name, count in zip(structures, counts, strict=True)
    }
