"""What a segmenter answers: a mask on the grid of each image as it came, and how much of it each structure takes.

A mask is computed at the network's size and brought back: probabilities are interpolated to the image's own size,
and a NIfTI file's orientation is restored, so that image and mask lie on each other in any viewer.

Shapes: S structures; a mask is (H, W), or a volume in the order of the file's axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lorkit.decompose.artifacts import write_bytes
from lorkit.decompose.data.preprocessing import region_check
from lorkit.decompose.errors import UsageError
from lorkit.export.prediction.classification import cell
from lorkit.export.prediction.masks import decode_at, png
from lorkit.export.prediction.network import LoadedNetwork, read_and_prepare
from lorkit.export.prediction.nifti_grid import is_nifti, nifti_bytes, voxel_ml
from lorkit.export.targets.base import Mask


def mask_names(paths: Sequence[Path], names: Sequence[str], out: Path) -> list[str]:
    """Return the file name of each image's mask: `.nii.gz` for NIfTI, else `.png`.

    Raises:
        UsageError: A mask would replace one of the images.
    """
    found = [f"{name}{'.nii.gz' if is_nifti(path) else '.png'}" for path, name in zip(paths, names, strict=True)]
    taken = {path.resolve() for path in paths}
    for name in found:
        if (out / name).resolve() in taken:
            raise UsageError(
                f"the mask {out / name} would replace an image",
                required="a directory without the images",
                fix="name another one with --out",
            )
    return found


def rows(
    network: LoadedNetwork, paths: Sequence[Path], targets: Sequence[Path | None], allow_out_of_region: bool
) -> list[dict[str, Any]]:
    """Segment images that fit into memory together.

    Args:
        network: What segments.
        paths: Image files.
        targets: Where each mask is written; None measures it only.
        allow_out_of_region: Segment images that do not look like the region too.

    Returns:
        One row an image; `structures` and `mask` are None where it does not look like the region.

    Raises:
        DataError: An image cannot be read.
    """
    ready = [read_and_prepare(network, path) for path in paths]
    logits = network.run(np.stack([image for image, _ in ready]))
    check = network.info.get("in_region")
    found_rows = []
    for path, target, (image, size), one in zip(paths, targets, ready, logits, strict=True):
        distance, limit, inside = region_check.check(check, image) if check else (None, None, None)
        row: dict[str, Any] = {
            "input": str(path),
            "mask": None,
            "size": list(size),
            "structures": None,
            "out_of_region": None if inside is None else not inside,
            "distance": distance,
            "limit": limit,
        }
        if inside is not False or allow_out_of_region:
            mask = decode_at(one, size)
            row["structures"] = _measure(network.region.classes, mask, path)
            if target is not None:
                write_bytes(target, nifti_bytes(mask, path) if is_nifti(path) else png(mask))
                row["mask"] = target.name
        found_rows.append(row)
    return found_rows


def table(document: Mapping[str, Any]) -> list[list[str]]:
    """Return the lines of `predictions.csv`, the header first: pixels, or voxels and millilitres, by structure."""
    units = list(dict.fromkeys(unit for row in document["predictions"] for unit in _units(row)))
    columns = [(name, unit) for name in document["classes"] for unit in units]
    lines = [["input", "mask", "out_of_region", *(f"{unit}_{name}" for name, unit in columns)]]
    for row in document["predictions"]:
        found = row["structures"] or {}
        values = [found.get(name, {}).get(unit) for name, unit in columns]
        written = ["" if value is None else f"{value:.4f}" if unit == "ml" else str(value)
                   for value, (_, unit) in zip(values, columns, strict=True)]  # fmt: skip
        lines.append([row["input"], row["mask"] or "", cell(row["out_of_region"]), *written])
    return lines


def _units(row: Mapping[str, Any]) -> list[str]:
    return list(next(iter((row["structures"] or {}).values()), {}))


def _measure(structures: Sequence[str], mask: Mask, path: Path) -> dict[str, dict[str, float]]:
    """Count the pixels of each structure; of a volume its voxels and, by the file's own scale, millilitres."""
    counts = np.bincount(mask.ravel(), minlength=len(structures) + 1)[1:]
    if mask.ndim == 2:
        return {name: {"pixels": int(count)} for name, count in zip(structures, counts, strict=True)}
    each = voxel_ml(path)
    return {
        name: {"voxels": int(count), "ml": round(float(count) * each, 6)}
        for name, count in zip(structures, counts, strict=True)
    }
