"""Volumes that a network takes window by window: what a case will need, its mask, and what it took.

One case is in memory at a time. The network is measured once, before the first case.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lorkit.decompose.artifacts.arrays import Bits, Float32Array, Mask
from lorkit.decompose.data.formats import nifti
from lorkit.decompose.data.formats.stored import StoredImage
from lorkit.decompose.data.preprocessing.recipe import prepared_size
from lorkit.decompose.data.preprocessing.stages import StageTimes
from lorkit.decompose.data.preprocessing.window_grid import WindowGrid
from lorkit.decompose.data.preprocessing.window_memory import (
    CaseSize,
    MemoryPlan,
    NetworkMemory,
    measure_network,
    plan_windows,
)
from lorkit.decompose.data.preprocessing.windows import segment_windows
from lorkit.decompose.documents.predict import VolumeCosts
from lorkit.decompose.documents.recipe import Recipe
from lorkit.decompose.errors import DataError
from lorkit.decompose.events import Listener, ignore
from lorkit.decompose.machine import PeakMemory

_MIB = 2**20


@dataclass
class VolumeCase:
    """One case from its file to its mask: the plan of its memory, and the seconds and memory that it took."""

    plan: MemoryPlan
    windows: int
    stages: StageTimes
    memory: PeakMemory

    def costs(self) -> VolumeCosts:
        """Return what the case took so far."""
        return VolumeCosts(
            windows=self.windows,
            batch=self.plan.batch,
            stage_seconds={name: round(seconds, 4) for name, seconds in self.stages.seconds.items()},
            predicted_peak_mib=round(self.plan.peak / _MIB, 1),
            peak_mib=round(self.memory.stop() / _MIB, 1),
        )


@dataclass
class VolumeRunner:
    """Runs a network over the windows of volumes.

    Attributes:
        recipe: With windows.
        exclusive: Whether a voxel has one structure at most.
        limit: Bytes that the process may take; None for what it has and what is free.
        on_event: Receives progress.
    """

    recipe: Recipe
    exclusive: bool
    limit: int | None = None
    on_event: Listener = ignore
    _measured: dict[int, NetworkMemory] = field(default_factory=dict)

    def begin(self, run: Callable[[Float32Array], Float32Array], path: Path) -> VolumeCase | None:
        """Plan a case by the header of its file, before a voxel is read; None for a file without such a header.

        Raises:
            DataError: The header is damaged, or the case does not fit into the memory.
        """
        if not (path.is_file() and nifti.accepts(path)):
            return None
        image = nifti.load(path, voxels=False)
        sides = [side for axis, side in enumerate(image.shape) if axis < 2 or side != 1]
        spacing = nifti.network_spacing(image)
        if len(sides) != 3:
            return None  # refused where it is read
        stored = image.get_data_dtype().itemsize
        scaled = (image.dataobj.slope, image.dataobj.inter) != (1.0, 0.0)
        order = np.argsort(nifti_axes(image))
        return self.plan(run, tuple(int(sides[axis]) for axis in order), spacing, stored, 8 if scaled else stored)

    def plan(
        self,
        run: Callable[[Float32Array], Float32Array],
        size: tuple[int, ...],
        spacing: tuple[float, ...] | None,
        stored: int,
        read: int,
    ) -> VolumeCase:
        """Plan a case of a size in the axes of the network.

        Args:
            run: The network.
            size: Sides of the volume.
            spacing: In mm.
            stored: Bytes of a voxel in the file.
            read: Bytes of a voxel as read.

        Raises:
            DataError: It does not fit into the memory.
        """
        window = self.recipe.window
        assert window is not None
        prepared = prepared_size(self.recipe, size, spacing)
        if id(run) not in self._measured:
            self._measured = {id(run): measure_network(run, self.recipe.shape)}
        case = CaseSize(size, prepared, self.recipe.channels, stored, read, self.exclusive)
        plan = plan_windows(self._measured[id(run)], window, case, limit=self.limit)
        memory = PeakMemory()
        memory.start()
        return VolumeCase(plan, len(WindowGrid.of(prepared, window)), StageTimes(), memory)

    def mask(
        self,
        run: Callable[[Float32Array], Float32Array],
        case: VolumeCase,
        volume_CDHW: Float32Array,
        size: tuple[int, ...],
        name: str,
    ) -> Mask | Bits:
        """Return the mask of a prepared volume, of the size of its file.

        Raises:
            DataError: An output is not finite.
        """
        window = self.recipe.window
        assert window is not None

        def finite(windows: Float32Array) -> Float32Array:
            logits = run(windows)
            if not math.isfinite(float(np.sum(logits, dtype=np.float64))):
                raise DataError(
                    f"{name}: outputs with NaN or infinite values",
                    required="finite outputs",
                    fix="check the image and the network",
                )
            return logits

        return segment_windows(
            finite,
            volume_CDHW,
            window,
            size,
            exclusive=self.exclusive,
            batch=case.plan.batch,
            text=f"{name}, windows",
            on_event=self.on_event,
            stages=case.stages,
        )


def nifti_axes(image: object) -> list[int]:
    """Return for each axis of a NIfTI file which axis of the network's volume it becomes."""
    from nibabel import orientations

    stored = orientations.io_orientation(image.affine)[:3]  # type: ignore[attr-defined]
    if not nifti.oriented(image) or np.isnan(stored).any():
        return [0, 1, 2]
    return [int(axis) for axis in stored[:, 0]]


def network_spacing(stored: StoredImage) -> tuple[float, ...] | None:
    """Return the distance of neighbours along the axes of a volume as networks take it: right, anterior, superior."""
    spacing, axes = stored.spacing_mm, stored.axes
    if spacing is None or len(spacing) != 3 or axes is None or "?" in axes:
        return spacing
    order = [next(at for at, letter in enumerate(axes) if letter in pair) for pair in ("LR", "PA", "IS")]
    return tuple(spacing[axis] for axis in order)
