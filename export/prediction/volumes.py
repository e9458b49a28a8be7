"""Volumes that a network takes window by window: what a case will need, its mask, and what it took.

One case is in memory at a time. The network is measured once, before the first case.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lorkit.decompose.artifacts.arrays import Bits, Float32Array, Mask
from lorkit.decompose.data.formats import dicom_series, grids, nifti
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
_SERIES_VOXEL = 4  # bytes: slices are read as float32


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


def joint_costs(cases: Sequence[VolumeCase]) -> VolumeCosts:
    """Return what a volume took that several networks answer: the sum of windows and seconds, and the largest peak."""
    stages = StageTimes()
    for case in cases:
        for name, seconds in case.stages.seconds.items():
            stages.seconds[name] += seconds
    largest = max(cases, key=lambda case: case.plan.peak)
    return VolumeCase(largest.plan, sum(case.windows for case in cases), stages, cases[-1].memory).costs()


class StatedVolume(NamedTuple):
    """A volume as headers state it.

    Attributes:
        size: Sides along the axes of the network: right, anterior, superior.
        spacing: Distance of neighbours along them, in mm; None if it is not stated.
        stored: Bytes of a voxel in the file.
        read: Bytes of a voxel as read.
    """

    size: tuple[int, ...]
    spacing: tuple[float, ...] | None
    stored: int
    read: int


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

    def measure(self, run: Callable[[Float32Array], Float32Array]) -> NetworkMemory:
        """Measure the memory of a network, once; see `measure_network`."""
        if id(run) not in self._measured:
            self._measured = {id(run): measure_network(run, self.recipe.shape)}
        return self._measured[id(run)]

    def begin(
        self, run: Callable[[Float32Array], Float32Array], path: Path, *, keep: bool = False
    ) -> VolumeCase | None:
        """Plan a case by the headers of its files, before a voxel is read; None where they do not state it.

        Args:
            run: The network.
            path: A NIfTI file, or the folder of a DICOM series.
            keep: Whether the values of the file are kept beside those that the network takes.

        Raises:
            DataError: A header is damaged, or the case does not fit into the memory.
        """
        stated = stated_volume(path)
        return None if stated is None else self.plan(run, stated, keep=keep)

    def plan(
        self, run: Callable[[Float32Array], Float32Array], stated: StatedVolume, *, keep: bool = False, beside: int = 0
    ) -> VolumeCase:
        """Plan a case of a size.

        Args:
            run: The network.
            stated: The volume.
            keep: Whether the values of the file are kept beside those that the network takes.
            beside: Bytes of what other networks of the same case leave beside it.

        Raises:
            DataError: It does not fit into the memory.
        """
        window = self.recipe.window
        assert window is not None
        prepared = prepared_size(self.recipe, stated.size, stated.spacing)
        kept = stated.read * math.prod(stated.size) if keep else 0
        case = CaseSize(
            stated.size, prepared, self.recipe.channels, stated.stored, stated.read, self.exclusive, kept, beside
        )
        plan = plan_windows(self.measure(run), window, case, limit=self.limit)
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


def stated_volume(path: Path) -> StatedVolume | None:
    """Read the headers of a NIfTI file or DICOM series; None for other files, and where they state no volume.

    Raises:
        DataError: A header is damaged, or the slices of a series are not those of one volume.
    """
    if path.is_dir() and dicom_series.is_series(path):
        series = dicom_series.read_grid(path)
        if series.affine_44 is None:
            return None  # refused where it is prepared
        grid = grids.read_grid(path)
        return StatedVolume(grid.shape, grid.spacing, _SERIES_VOXEL, _SERIES_VOXEL)
    if not (path.is_file() and nifti.accepts(path)):
        return None
    image = nifti.load(path, voxels=False)
    sides = [side for axis, side in enumerate(image.shape) if axis < 2 or side != 1]
    if len(sides) != 3:
        return None  # refused where it is read
    stored = image.get_data_dtype().itemsize
    scaled = (image.dataobj.slope, image.dataobj.inter) != (1.0, 0.0)
    size = tuple(int(sides[axis]) for axis in np.argsort(nifti_axes(image)))
    return StatedVolume(size, nifti.network_spacing(image), stored, 8 if scaled else stored)


def nifti_axes(image: object) -> list[int]:
    """Return for each axis of a NIfTI file which axis of the network's volume it becomes."""
    from nibabel import orientations

    stored = orientations.io_orientation(image.affine)[:3]  # type: ignore[attr-defined]
    if not nifti.oriented(image) or np.isnan(stored).any():
        return [0, 1, 2]
    return [int(axis) for axis in stored[:, 0]]
