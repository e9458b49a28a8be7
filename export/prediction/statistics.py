"""Volume and mean intensity of each structure, in the units of the file.

Shapes: D H W a volume in the axes in which networks take it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import Floats
from lorkit.decompose.data.formats.stored import StoredImage
from lorkit.decompose.documents.predict import ImageStatistics, PredictDocument, SegmentedImage, StructureStatistics
from lorkit.decompose.errors import DataError
from lorkit.export.prediction.writers.base import LabelledMask

DOCUMENT, TABLE = "statistics.json", "statistics.csv"
_COLUMNS = ("input", "structure", "voxels", "ml", "mean", "unit")


def image_statistics(image: StoredImage, mask: LabelledMask) -> ImageStatistics:
    """Measure the structures of a volume.

    Means are of the values of the file after its own scaling, before any window: HU of CT. Sums are of float64.

    Args:
        image: The volume as its file states it.
        mask: Its mask, in the axes to which `image.orient` turns it.

    Raises:
        DataError: The image is a picture.
    """
    if image.dims != 3:
        raise DataError(
            f"--statistics for {mask.path}, which is a picture",
            required="volumes, whose structures have a volume in ml",
            fix="leave it out: predictions.csv has the number of pixels",
        )
    values_DHW = image.orient(image.values)
    if mask.overlapping:
        found = {label.name: (int(layer.sum()), float(values_DHW[layer].sum(dtype=np.float64)))
                 for label, layer in mask.layers()}  # fmt: skip
    else:
        count, total = _sums(values_DHW, mask)
        found = {label.name: (int(count[label.value]), float(total[label.value])) for label in mask.labels}
    structures = {
        name: StructureStatistics(
            voxels=voxels,
            ml=None if image.voxel_ml is None else round(voxels * image.voxel_ml, 6),
            mean_value=round(total / voxels, 6) if voxels and np.isfinite(total) else None,
        )
        for name, (voxels, total) in found.items()
    }
    return ImageStatistics(unit=image.unit, structures=structures)


def table(document: PredictDocument) -> list[list[str]]:
    """Return the lines of `statistics.csv`, the header first: a line per volume and structure."""
    lines = [list(_COLUMNS)]
    for row in document.predictions:
        found = row.statistics if isinstance(row, SegmentedImage) else None
        if found is None:
            continue
        for name, one in found.structures.items():
            ml, mean = ("" if value is None else f"{value:.4f}" for value in (one.ml, one.mean_value))
            lines.append([row.input, name, str(one.voxels), ml, mean, found.unit or ""])
    return lines


def _sums(values_DHW: NDArray[Any], mask: LabelledMask) -> tuple[Floats, Floats]:
    """Return the number of voxels and the sum of their values by number in the mask, plane by plane."""
    size = 1 + max(label.value for label in mask.labels)
    count, total = np.zeros(size), np.zeros(size)
    for values, numbers in zip(values_DHW, mask.values, strict=True):
        count += np.bincount(numbers.ravel(), minlength=size)
        total += np.bincount(numbers.ravel(), weights=values.ravel().astype(np.float64), minlength=size)
    return count, total
