"""The memory that sliding windows over a volume need, predicted before they run.

The process is measured with the network loaded and one window run; arrays of a known size are added. So the base of
the interpreter and runtime, and what a runtime keeps for its next call, are not guessed.

Shapes: K outputs, C channels, D H W the prepared volume, d h w a window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lorkit.decompose.data.preprocessing.streamed_decoding import bilinear_taps
from lorkit.decompose.data.preprocessing.window_grid import WindowGrid
from lorkit.decompose.data.preprocessing.windows import Run
from lorkit.decompose.documents.recipe import Window
from lorkit.decompose.errors import DataError
from lorkit.decompose.machine import PeakMemory, available_bytes, resident_bytes

_FLOAT = 4
_MOST_WINDOWS = 8
_WINDOW_BYTES = 256 * 2**20
"""More windows at once bring no speed where one of them takes this much."""
_RESERVE = 16
"""A sixteenth is added, for what allocators round up and keep: too much is better than too little."""
_MIB, _GIB = 2**20, 2**30


@dataclass(frozen=True)
class NetworkMemory:
    """Memory of a network above what the process keeps between runs: of one window, and of each further one.

    `most` is the largest number of windows at once that was measured, and that is planned.
    """

    outputs: int
    first: int
    further: int
    most: int = 1

    def bytes_of(self, batch: int) -> int:
        """Return the memory of some windows at once, their values and logits included."""
        return self.first + (batch - 1) * self.further


@dataclass(frozen=True)
class CaseSize:
    """A volume as read and as prepared.

    Attributes:
        size: Sides as read.
        prepared: Sides as the network's windows see it.
        channels: Of the prepared volume.
        stored: Bytes of one voxel in the file.
        read: Bytes of one voxel as read, after the file's scaling.
        exclusive: Whether a voxel has one structure at most.
        kept: Bytes of the volume as read where it is kept, which writing needs in other axes, too.
        beside: Bytes of what other networks of the same case leave beside it from its resampling on.
    """

    size: tuple[int, ...]
    prepared: tuple[int, ...]
    channels: int = 1
    stored: int = 2
    read: int = 2
    exclusive: bool = True
    kept: int = 0
    beside: int = 0


@dataclass(frozen=True)
class MemoryPlan:
    """What a case will need: bytes of the process by stage, and the windows that the network takes at once."""

    batch: int
    stages: dict[str, int]

    @property
    def peak(self) -> int:
        """The largest of the stages."""
        return max(self.stages.values())


def measure_network(run: Run, shape: Sequence[int]) -> NetworkMemory:
    """Run a network on empty windows, and return what it needs.

    The first call includes what a runtime prepares once and keeps.

    Args:
        run: The network.
        shape: (C, d, h, w) of a window.
    """
    before = resident_bytes()
    outputs, first = _peak(run, shape, 1)
    one = max(first - before, _FLOAT * math.prod(shape))
    most = max(1, min(_MOST_WINDOWS, _WINDOW_BYTES // one))
    # as many as will run: allocators keep and round differently for each number; and twice, because ONNX Runtime
    # plans the memory in the first run of a shape and then takes all of it in one piece, beside what it has kept
    again = max(_peak(run, shape, most)[1] for _ in range(1 if most == 1 else 2))
    kept = resident_bytes()
    if most == 1:
        return NetworkMemory(outputs, max(0, max(first, again) - kept), 0)
    alone, together = max(0, first - kept), max(0, again - kept)
    return NetworkMemory(outputs, alone, max(0, together - alone) // (most - 1), most)


def _peak(run: Run, shape: Sequence[int], batch: int) -> tuple[int, int]:
    with PeakMemory() as memory:
        outputs = run(np.zeros((batch, *shape), dtype=np.float32)).shape[1]
    return outputs, memory.peak


def plan_windows(network: NetworkMemory, window: Window, case: CaseSize, *, limit: int | None = None) -> MemoryPlan:
    """Choose how many windows a network takes at once, and predict the peak memory of a case.

    Args:
        network: As measured in this process.
        window: The step of the recipe.
        case: The volume.
        limit: Bytes that the process may take; by default what it has and what is free.

    Raises:
        DataError: Even one window at a time does not fit.
    """
    base = resident_bytes()
    most = base + available_bytes() if limit is None else limit
    best = MemoryPlan(1, _stages(network, window, case, 1, base))
    if best.peak > most:
        stage = max(best.stages, key=lambda name: best.stages[name])
        raise DataError(
            f"a volume of {_sides(case.size)} voxels ({_sides(case.prepared)} as the network takes it), which needs "
            f"{best.peak / _GIB:.2f} GiB while it is in the stage '{stage}'",
            required=f"at most {most / _GIB:.2f} GiB, " + ("which are free" if limit is None else "as --memory says"),
            fix="free memory or allow more, cut the volume to the region, or use a network with a coarser spacing",
        )
    for batch in range(2, min(network.most, len(WindowGrid.of(case.prepared, window))) + 1):
        larger = MemoryPlan(batch, _stages(network, window, case, batch, base))
        if larger.peak > most:
            break
        best = larger
    return best


def _stages(network: NetworkMemory, window: Window, case: CaseSize, batch: int, base: int) -> dict[str, int]:
    voxels, prepared = math.prod(case.size), math.prod(case.prepared)
    mask = voxels * (1 if case.exclusive else 4)
    between = math.prod((case.size[0], *case.prepared[1:]))  # resized in its planes only
    volume = _FLOAT * prepared * case.channels
    unit, held = _FLOAT * voxels, case.kept + case.beside
    resampled = 0 if case.size == case.prepared else _FLOAT * (prepared + between)
    stages = {
        "read": base + voxels * (2 * case.stored + 2 * case.read),
        "resample": base + voxels * case.read + unit + max(unit, resampled, volume * (case.channels > 1)) + case.beside,
        "windows": base + volume + mask + _sums(network.outputs, window, case) + network.bytes_of(batch) + held,
        "write": base + volume + 3 * mask + 2 * voxels * case.stored + held + case.kept,
    }
    return {name: needed + needed // _RESERVE for name, needed in stages.items()}


def _sums(outputs: int, window: Window, case: CaseSize) -> int:
    """Return the bytes of what `windows` and `streamed_decoding` hold beside volume and mask."""
    grid = WindowGrid.of(case.prepared, window)
    height, depth, (_, full_height, full_width) = grid.window[1], grid.span, grid.padded
    bar = (outputs + 1) * depth * height * full_width
    carried = (outputs + 1) * grid.shared * full_height * full_width
    rows = 0
    if case.size != case.prepared:
        planes, lines = (bilinear_taps(old, new).width for old, new in zip(case.prepared[:2], case.size, strict=False))
        rows = outputs * (depth * lines * case.size[2] + planes * case.size[1] * case.size[2])
    piece = 4 * outputs * height * max(full_width, case.size[2])
    return _FLOAT * (bar + carried + rows + piece + 2 * math.prod(grid.window))


def _sides(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))
