"""Decode the mask of a volume plane by plane, without its logits or probabilities in memory at once.

The mask equals that of `decoding.decode_at` of all logits: probabilities are interpolated with Pillow's bilinear filter
along the last axis, then along the middle one, then along the first. Rows and planes that later ones still need are
kept.

Shapes: K outputs, D H W the prepared volume, d h w the mask, R rows of one piece.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lorkit.decompose.artifacts.arrays import Bits, Float32Array, Ints, Mask
from lorkit.decompose.artifacts.masks import join_structures
from lorkit.decompose.data.preprocessing.recipe import resize_image
from lorkit.decompose.data.preprocessing.stages import StageTimes
from lorkit.decompose.metrics.probabilities import expit, softmax


class Taps(NamedTuple):
    """A linear filter along one axis: place `o` of the result is the sum over t of `weights[o, t]` of `first[o] + t`.

    Places beyond the `last` one have weight 0.
    """

    first: Ints
    last: Ints
    weights: Float32Array

    @property
    def width(self) -> int:
        """Most places that one place of the result needs."""
        return int(self.weights.shape[1])


def bilinear_taps(old: int, new: int) -> Taps:
    """Return Pillow's antialiased bilinear filter from `old` places to `new`."""
    scale = old / new
    support = max(1.0, scale)
    first, last, rows = [], [], []
    for place in range(new):
        centre = (place + 0.5) * scale
        begin, end = max(0, int(centre - support + 0.5)), min(old, int(centre + support + 0.5))
        weights = [max(0.0, 1.0 - abs((at - centre + 0.5) / support)) for at in range(begin, end)]
        used = [at for at, weight in enumerate(weights) if weight > 0]
        begin, weights = begin + used[0], weights[used[0] : used[-1] + 1]
        total = math.fsum(weights)
        first.append(begin)
        last.append(begin + len(weights) - 1)
        rows.append([weight / total for weight in weights])
    width = max(map(len, rows))
    padded = np.array([row + [0.0] * (width - len(row)) for row in rows], dtype=np.float32)
    return Taps(np.array(first), np.array(last), padded)


class StreamedDecoding:
    """A mask that is decoded from pieces of planes.

    Pieces come by blocks of planes: for a block, all its planes with their first rows, then all with the next rows. A
    block follows the one before it.

    Args:
        outputs: Number of outputs K.
        sides: Of the prepared volume, D H W.
        size: Of the mask.
        planes: Most planes of a block.
        exclusive: Whether a voxel has one structure at most; else a bit of the mask stands for each.
        stages: Receives the seconds.
    """

    def __init__(
        self,
        outputs: int,
        sides: Sequence[int],
        size: Sequence[int],
        *,
        planes: int,
        exclusive: bool = True,
        stages: StageTimes | None = None,
    ) -> None:
        self._same = tuple(sides) == tuple(size)
        self._exclusive, self._size, self._planes = exclusive, tuple(size), planes
        self._stages = stages or StageTimes()
        self.mask: Mask | Bits = np.zeros(self._size, np.uint8) if exclusive else np.zeros(self._size, np.uint32)
        if not self._same:
            self._taps_D, self._taps_H = (bilinear_taps(old, new) for old, new in zip(sides[:2], size[:2], strict=True))
            height, width = self._size[1:]
            self._rows = np.zeros((planes, outputs, self._taps_H.width, width), dtype=np.float32)
            self._ring = np.zeros((self._taps_D.width, outputs, height, width), dtype=np.float32)

    def take(self, plane: int, row: int, logits_KRW: Float32Array) -> None:
        """Take the logits of rows `row` to `row + R` of a plane, and decode what they complete."""
        if self._same:
            with self._stages.stage("argmax"):
                self.mask[plane, row : row + logits_KRW.shape[1]] = decided(logits_KRW, self._exclusive, 0.0)
            return
        with self._stages.stage("inverse_resample"):
            places = self._resize_rows(plane, row, logits_KRW)
        if places.stop > places.start:
            for target in np.flatnonzero(self._taps_D.last == plane):
                with self._stages.stage("inverse_resample"):
                    shares_KRw = self._across_planes(int(target), places)
                with self._stages.stage("argmax"):
                    self.mask[target, places] = decided(shares_KRw, self._exclusive, 0.5)

    def _resize_rows(self, plane: int, row: int, logits_KRW: Float32Array) -> slice:
        """Interpolate within a plane, and keep the result for `_across_planes`; return the rows that are complete."""
        shares = softmax(logits_KRW, axis=0) if self._exclusive else expit(logits_KRW)
        count, end = shares.shape[1], row + shares.shape[1]
        flat = shares.reshape(-1, shares.shape[2])
        wide = resize_image(flat, (len(flat), self._size[2])).reshape(len(shares), count, self._size[2])
        taps = self._taps_H
        begin = int(np.searchsorted(taps.last, row))
        stop = int(np.searchsorted(taps.last, end))
        kept = self._rows[plane % self._planes]  # the last rows before `row`, at the end of the array
        joined = np.concatenate([kept, wide], axis=1)
        if stop > begin:
            places = taps.first[begin:stop] - row + taps.width
            self._ring[plane % self._taps_D.width, :, begin:stop] = _weighted(joined, places, taps.weights[begin:stop])
        kept[:] = joined[:, joined.shape[1] - taps.width :]
        return slice(begin, stop)

    def _across_planes(self, target: int, rows: slice) -> Float32Array:
        first, last = int(self._taps_D.first[target]), int(self._taps_D.last[target])
        result: Float32Array | None = None
        for at in range(first, last + 1):
            part = self._ring[at % len(self._ring), :, rows] * self._taps_D.weights[target, at - first]
            result = part if result is None else np.add(result, part, out=result)
        assert result is not None
        return result


def _weighted(values_KRw: Float32Array, first: Ints, weights: Float32Array) -> Float32Array:
    """Return the weighted sums of rows that begin at `first`."""
    result: Float32Array = values_KRw[:, first] * weights[:, :1]
    most = values_KRw.shape[1] - 1
    for at in range(1, weights.shape[1]):
        result += values_KRw[:, np.minimum(first + at, most)] * weights[:, at, None]
    return result


def decided(values: Float32Array, exclusive: bool, threshold: float) -> Mask | Bits:
    """Return the output with the largest value of each place, or a bit for each output above the threshold.

    Args:
        values: (K, ...).
        exclusive: Which of the two.
        threshold: Of bits.
    """
    if not exclusive:
        return join_structures(value > threshold for value in values)
    best = values[0].copy()
    mask: Mask = np.zeros(best.shape, dtype=np.uint8)
    for index in range(1, len(values)):
        # one structure after the other, which is faster than argmax across the first axis
        np.copyto(mask, np.uint8(index), where=values[index] > best)
        np.maximum(best, values[index], out=best)
    return mask
