"""Sliding windows over a volume: a network of small blocks answers a volume of any size.

Logits of neighbouring windows are averaged with Gaussian weights, as MONAI's `sliding_window_inference` averages them.
The logits of the whole volume are never in memory: sums are kept for one bar of windows (along the last axis) and for
the planes that the next bars below still reach. Rows of windows that share most of their planes, as the last two of an
axis may, are in one bar. Planes without further windows are decoded at once
(`streamed_decoding`).

Positions, weights and the order of sums depend on the recipe only, not on the batch.

Shapes: N windows, C channels, K outputs, D H W the volume, d h w a window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from lorkit.decompose.artifacts.arrays import Bits, Float32Array, Mask
from lorkit.decompose.data.preprocessing.stages import StageTimes
from lorkit.decompose.data.preprocessing.streamed_decoding import StreamedDecoding, decided
from lorkit.decompose.data.preprocessing.window_grid import WindowGrid
from lorkit.decompose.documents.recipe import Window
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.events import Listener, Working, ignore

_LEAST_WEIGHT = 1e-3
Run = Callable[[Float32Array], Float32Array]
"""Windows (N, C, d, h, w) to logits (N, K, d, h, w)."""


def gaussian_weights(window: Sequence[int], sigma: float) -> Float32Array:
    """Return the weight of each voxel of a window: 1 in its centre, at least 0.001; as MONAI's importance map."""
    weights = np.ones((), dtype=np.float32)
    for side in window:
        places = np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2)
        weights = weights[..., None] * np.exp(places**2 / np.float32(-2 * (sigma * side) ** 2))
    least: Float32Array = np.maximum(weights, np.float32(max(float(weights.min()), _LEAST_WEIGHT)))
    return least


def segment_windows(
    run: Run,
    volume_CDHW: Float32Array,
    window: Window,
    size: Sequence[int],
    *,
    exclusive: bool = True,
    batch: int = 1,
    text: str = "windows",
    on_event: Listener = ignore,
    stages: StageTimes | None = None,
    on_grid: Mask | Bits | None = None,
) -> Mask | Bits:
    """Segment a volume window by window.

    Args:
        run: The network.
        volume_CDHW: The prepared volume.
        window: Size, overlap and weights of windows.
        size: Sides of the mask: of the volume before it was resampled.
        exclusive: Whether a voxel has one structure at most; else a bit of the mask stands for each.
        batch: Windows that the network takes at once.
        text: Name of the work, for progress.
        on_event: Receives progress.
        stages: Receives the seconds of each stage.
        on_grid: (D, H, W), receives the mask before probabilities are interpolated.

    Returns:
        The mask, of `size`: what `decoding.decode_at` returns of the blended logits of the whole volume.

    Raises:
        ArtifactError: The network returns another size than that of its window.
    """
    stages = stages or StageTimes()
    grid = WindowGrid.of(volume_CDHW.shape[1:], window)
    outputs = _logits(run, volume_CDHW, grid, batch, text, on_event, stages)
    blend: _Blend | None = None
    decoding: StreamedDecoding | None = None
    for place, logits_Kdhw in outputs:
        if blend is None or decoding is None:
            count = len(logits_Kdhw)
            blend = _Blend(grid, count, gaussian_weights(grid.window, window.sigma))
            decoding = StreamedDecoding(count, grid.sides, size, planes=grid.span, exclusive=exclusive, stages=stages)
        with stages.stage("blend"):
            blend.add(place, logits_Kdhw)
        del logits_Kdhw  # else it is in memory while the next windows run
        if blend.ends_bar(place):
            for plane, row, mean_KRW in _timed(blend.finished(place), stages):
                decoding.take(plane, row, mean_KRW)
                if on_grid is not None:
                    on_grid[plane, row : row + mean_KRW.shape[1]] = decided(mean_KRW, exclusive, 0.0)
    assert decoding is not None
    return decoding.mask


def _logits(
    run: Run,
    volume_CDHW: Float32Array,
    grid: WindowGrid,
    batch: int,
    text: str,
    on_event: Listener,
    stages: StageTimes,
) -> Iterator[tuple[tuple[int, ...], Float32Array]]:
    """Yield the place and the logits of each window."""
    total = len(grid)
    every = list(grid.places())
    for done in range(0, total, batch):
        places = every[done : done + batch]
        on_event(Working(text, done, total))
        with stages.stage("windows"):
            windows = np.stack([grid.cut(volume_CDHW, place) for place in places])
        with stages.stage("network"):
            logits = np.asarray(run(windows), dtype=np.float32)
        if logits.shape[2:] != grid.window or len(logits) != len(places):
            raise ArtifactError(
                f"logits of shape {logits.shape} for windows of shape {windows.shape}",
                required="one value per voxel and output",
                fix="use a network whose outputs have the size of its input",
            )
        for index, place in enumerate(places):
            yield place, logits[index]
        del logits
    on_event(Working(text, total, total))


def _timed(
    pieces: Iterator[tuple[int, int, Float32Array]], stages: StageTimes
) -> Iterator[tuple[int, int, Float32Array]]:
    while True:
        with stages.stage("blend"):
            piece = next(pieces, None)
        if piece is None:
            return
        yield piece


class _Blend:
    """Weighted sums of windows: of one bar of windows, and of planes that the next row of bars shares with this one.

    The last channel of the sums holds the weights.
    """

    def __init__(self, grid: WindowGrid, outputs: int, weights: Float32Array) -> None:
        _, full_height, full_width = grid.padded
        self._grid, self._weights = grid, weights
        self._bar = np.zeros((outputs + 1, grid.span, grid.window[1], full_width), dtype=np.float32)
        self._carried = np.zeros((outputs + 1, grid.shared, full_height, full_width), dtype=np.float32)
        self._product = np.empty_like(weights)
        self._group = {start: index for index, group in enumerate(grid.groups) for start in group}

    def add(self, place: Sequence[int], logits_Kdhw: Float32Array) -> None:
        """Add a window to the sums; windows come in the order of `WindowGrid.places`."""
        group = self._grid.groups[self._group[place[0]]]
        if place[2] == 0 and place[0] == group[0]:
            self._begin_bar(place)
        planes = slice(place[0] - group[0], place[0] - group[0] + self._grid.window[0])
        columns = slice(place[2], place[2] + self._grid.window[2])
        for total, logits in zip(self._bar, logits_Kdhw, strict=False):
            total[planes, :, columns] += np.multiply(logits, self._weights, out=self._product)
        self._bar[-1][planes, :, columns] += self._weights

    def ends_bar(self, place: Sequence[int]) -> bool:
        """Tell whether a window is the last of its bar."""
        group = self._grid.groups[self._group[place[0]]]
        return place[2] == self._grid.starts[2][-1] and place[0] == group[-1]

    def _begin_bar(self, place: Sequence[int]) -> None:
        """Move the rows that the new bar shares with the last one, and add the planes of the bars above."""
        depth, height, _ = self._grid.window
        index, rows = self._group[place[0]], self._grid.starts[1]
        row = rows.index(place[1])
        kept = rows[row - 1] + height - place[1] if row else 0
        above = self._grid.groups[index - 1][-1] + depth - place[0] if index else 0
        for total, carried in zip(self._bar, self._carried, strict=True):
            total[:, :kept] = total[:, height - kept :].copy()
            total[:above, kept:] = carried[:above, place[1] + kept : place[1] + height]
            total[above:, kept:] = 0

    def finished(self, place: Sequence[int]) -> Iterator[tuple[int, int, Float32Array]]:
        """Yield (plane, row, logits) of what no window after this bar reaches, and keep what the bars below share."""
        grid, index = self._grid, self._group[place[0]]
        first, end = grid.groups[index][0], grid.groups[index][-1] + grid.window[0]
        below = grid.groups[index + 1][0] if index + 1 < len(grid.groups) else end
        rows = grid.rows_to_next(place[1])
        top, side = place[1] - grid.before[1], slice(grid.before[2], grid.before[2] + grid.sides[2])
        inside = slice(max(0, -top), min(rows, grid.sides[1] - top))
        for plane in range(first, below):
            at = plane - grid.before[0]
            if 0 <= at < grid.sides[0]:
                part = self._bar[:, plane - first, inside, side]
                yield at, top + inside.start, part[:-1] / part[-1]
        self._carried[:, : end - below, place[1] : place[1] + rows] = self._bar[:, below - first : end - first, :rows]
