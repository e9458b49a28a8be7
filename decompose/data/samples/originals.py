"""Masks as their files state them, by which predicted masks are judged: read case by case, never resized."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import Bits, Mask
from lorkit.decompose.data.samples.source import Images
from lorkit.decompose.documents.mask_scores import Unit, VolumeUnit
from lorkit.decompose.errors import UsageError
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks import get_task

Spacings = tuple[tuple[float, ...] | None, ...]
"""Distance of neighbours along each axis of each mask, in mm; None where a file states none."""
DEFAULT_TOLERANCE = 1.0


class OriginalMask(NamedTuple):
    """One mask (*spatial), and the distance of its neighbours along each axis in the unit of its region."""

    mask: Mask | Bits
    spacing: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class OriginalMasks:
    """The masks of some samples at the size of their images.

    Attributes:
        masks: Masks of the whole source, on the axes in which networks take images.
        spacings: Their spacings, in the same order.
        tolerances: Tolerance of the surface of each structure in `unit`, (S,).
        indices: The samples.
    """

    masks: Images
    spacings: Spacings
    tolerances: tuple[float, ...]
    indices: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, row: int, /) -> OriginalMask:
        """Read the mask of one sample."""
        mask, unit = self.masks[self.indices[row]], self.unit
        spacing = self.spacings[self.indices[row]] if unit == "mm" else None
        return OriginalMask(np.asarray(mask), spacing or (1.0,) * mask.ndim)

    @property
    def unit(self) -> Unit:
        """Unit of distances: mm if the spacing of every sample is known, else pixels or voxels."""
        if all(self.spacings[index] is not None for index in self.indices):
            return "mm"
        return "pixels" if self.masks[self.indices[0]].ndim == 2 else "voxels"

    @property
    def volume_unit(self) -> VolumeUnit:
        """Unit of volumes: ml (of 2D masks mm2) if the spacing of every sample is known, else pixels or voxels."""
        if self.unit == "mm":
            return "mm2" if self.masks[self.indices[0]].ndim == 2 else "ml"
        return self.unit

    def voxel_size(self, original: OriginalMask) -> float:
        """Return the size of a pixel or voxel of one of the masks in `volume_unit`."""
        product = math.prod(original.spacing)
        return product / 1000.0 if self.unit == "mm" and original.mask.ndim == 3 else product

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> OriginalMasks:
        """Return the samples at `rows`, in that order."""
        return replace(self, indices=tuple(self.indices[int(row)] for row in rows))


def tolerances_of(region: str, stated: float | dict[str, float], structures: Sequence[str]) -> tuple[float, ...]:
    """Return the tolerance of each structure: one for all, or by name with `DEFAULT_TOLERANCE` for the others.

    Raises:
        UsageError: A name is no structure of the region.
    """
    if not isinstance(stated, dict):
        return (stated,) * len(structures)
    strange = [name for name in stated if name not in structures]
    if strange:
        raise UsageError(
            f"region '{region}' states nsd_tolerance_mm for '{strange[0]}'",
            required=f"a structure of the region: {', '.join(structures)}",
            fix="correct the name",
        )
    return tuple(stated.get(name, DEFAULT_TOLERANCE) for name in structures)


def check_spacing(region: Region, spacing: Sequence[float] | None) -> None:
    """Raise UsageError for a spacing of a region without masks."""
    if spacing is not None and not get_task(region.task).dense:
        raise UsageError(
            f"region '{region.name}' of task {region.task} states spacing",
            required="a region with masks: a window of a volume has no label of its own",
            fix="leave spacing out, and whole volumes are resized to image.size",
        )
