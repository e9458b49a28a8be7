"""Which structures of a mask are kept, and how large they are.

Shapes: S structures; a mask is (H, W), or (D, H, W) in the axes of the image as read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.documents.predict import StructureSize
from lorkit.decompose.errors import UsageError, unknown
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks import get_task
from lorkit.export.prediction.writers.base import LabelledMask, MaskLabel


@dataclass(frozen=True)
class MaskOptions:
    """What is made of masks.

    Attributes:
        to: Format of the masks of volumes; None for NIfTI.
        structures: The structures that are kept; None keeps all.
        statistics: Measure volume and mean intensity of each structure.
        preview: Draw slices with outlines of each image.
    """

    to: str | None = None
    structures: Sequence[str] | None = None
    statistics: bool = False
    preview: bool = False

    @property
    def need_image(self) -> bool:
        """Whether the values of the image as read are needed beside those that the network takes."""
        return self.statistics or self.preview

    @property
    def given(self) -> str | None:
        """The first option that only masks have, as the command line names it; None where none is given."""
        flags = {"--to": self.to is not None, "--structures": self.structures is not None}
        flags |= {"--statistics": self.statistics, "--preview": self.preview}
        return next((name for name, given in flags.items() if given), None)


PLAIN = MaskOptions()


def kept_labels(region: Region, structures: Collection[str] | None) -> tuple[MaskLabel, ...]:
    """Return the structures of a region that are kept, with their numbers in its masks.

    Raises:
        UsageError: A name is unknown.
    """
    labels = [MaskLabel(value, name, region.name) for value, name in enumerate(region.classes, start=1)]
    return select_labels(labels, structures)


def select_labels(labels: Sequence[MaskLabel], structures: Collection[str] | None) -> tuple[MaskLabel, ...]:
    """Return the labels whose names are in `structures`, in their own order; all of them for None.

    Raises:
        UsageError: A name is unknown; the message has the nearest one.
    """
    if structures is None:
        return tuple(labels)
    if not structures:
        raise UsageError(
            "--structures without a name", required="names of structures", fix="name some, or leave it out"
        )
    known = [label.name for label in labels]
    for name in structures:
        if name not in known:
            raise unknown("structure", name, known, fix="choose some of them with --structures")
    return tuple(label for label in labels if label.name in structures)


def labelled(path: Path, region: Region, values: NDArray[Any], labels: Sequence[MaskLabel]) -> LabelledMask:
    """Return the mask of one image as its network draws it, with only the kept structures."""
    return only(LabelledMask(path, values, labels, not get_task(region.task).exclusive), labels)


def only(mask: LabelledMask, labels: Sequence[MaskLabel]) -> LabelledMask:
    """Return a mask with some of its structures."""
    values = _only(mask.values, labels, overlapping=mask.overlapping)
    return LabelledMask(mask.path, values, labels, mask.overlapping)


def sizes_of(mask: LabelledMask, voxel_ml: float | None) -> dict[str, StructureSize]:
    """Count the pixels of each structure; for a volume voxels and, where the file states their size, millilitres."""
    counts = counts_of(mask)
    if mask.values.ndim == 2:
        return {name: StructureSize(pixels=count) for name, count in counts.items()}
    return {
        name: StructureSize(voxels=count, ml=None if voxel_ml is None else round(count * voxel_ml, 6))
        for name, count in counts.items()
    }


def counts_of(mask: LabelledMask) -> dict[str, int]:
    """Return the number of pixels or voxels of each structure."""
    if mask.overlapping:
        return {label.name: int(np.count_nonzero(layer)) for label, layer in mask.layers()}
    largest = max((label.value for label in mask.labels), default=0)
    # by plane, because numpy counts a copy of 8 bytes per voxel
    counts = np.zeros(largest + 1, dtype=np.int64)
    for plane in mask.values:
        counts += np.bincount(plane.ravel(), minlength=largest + 1)[: largest + 1]
    return {label.name: int(counts[label.value]) for label in mask.labels}


def _only(values: NDArray[Any], labels: Sequence[MaskLabel], *, overlapping: bool) -> NDArray[Any]:
    numbers = [label.value for label in labels]
    if overlapping:
        bits = sum(1 << (number - 1) for number in numbers)
        return np.asarray(values & values.dtype.type(bits))
    table = np.zeros(int(np.iinfo(values.dtype).max) + 1, dtype=values.dtype)
    table[numbers] = numbers
    return np.asarray(table[values])
