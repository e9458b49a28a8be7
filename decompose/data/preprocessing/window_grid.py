"""The windows of a volume: their places by MONAI's rules, and the order in which they are run.

Shapes: C channels, D H W the volume, d h w a window.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.documents.recipe import Window


@dataclass(frozen=True)
class WindowGrid:
    """The windows of a volume, by MONAI's rules: the last one of an axis ends with the volume.

    A volume that is smaller than a window is padded at both ends.

    Attributes:
        sides: Of the volume.
        window: Sides of a window.
        starts: Of the windows along each axis, of the padded volume.
    """

    sides: tuple[int, ...]
    window: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, sides: Sequence[int], window: Window) -> WindowGrid:
        """Return the windows of a volume with these sides."""
        starts = tuple(
            _starts(max(side, own), own, window.overlap) for side, own in zip(sides, window.size, strict=True)
        )
        return cls(tuple(sides), tuple(window.size), starts)

    @property
    def padded(self) -> tuple[int, ...]:
        """Sides of the padded volume."""
        return tuple(max(pair) for pair in zip(self.sides, self.window, strict=True))

    @property
    def before(self) -> tuple[int, ...]:
        """Padding before the volume along each axis."""
        return tuple((full - side) // 2 for full, side in zip(self.padded, self.sides, strict=True))

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Starts along the first axis by bar: those that together take the least memory."""
        depth, limits = self.window[0], range(self.window[0], 2 * self.window[0] + 1)
        return min((_grouped(self.starts[0], depth, limit) for limit in limits), key=self._planes)

    def _planes(self, groups: Sequence[Sequence[int]]) -> int:
        """Return the memory of a bar and of the planes that bars share, in voxels of one row of the volume's width."""
        span, shared = _extent(groups, self.window[0])
        return span * self.window[1] + shared * self.padded[1]

    @property
    def span(self) -> int:
        """Most planes of a bar."""
        return _extent(self.groups, self.window[0])[0]

    @property
    def shared(self) -> int:
        """Most planes that a bar shares with those below it."""
        return _extent(self.groups, self.window[0])[1]

    def places(self) -> Iterator[tuple[int, ...]]:
        """Yield the start of each window, bar after bar."""
        for group, row in product(self.groups, self.starts[1]):
            for plane, column in product(group, self.starts[2]):
                yield plane, row, column

    def rows_to_next(self, start: int) -> int:
        """Return the rows from a start along the middle axis to the next, or to the end of the last window."""
        index, starts = self.starts[1].index(start), self.starts[1]
        return starts[index + 1] - start if index + 1 < len(starts) else self.window[1]

    def __len__(self) -> int:
        """Return the number of windows."""
        return math.prod(map(len, self.starts))

    def cut(self, volume_CDHW: NDArray[Any], place: Sequence[int], fill: int = 0) -> NDArray[Any]:
        """Return the window that starts at `place` of the padded volume, `fill` outside the volume."""
        begins = [start - before for start, before in zip(place, self.before, strict=True)]
        inside = [slice(max(0, begin), begin + own) for begin, own in zip(begins, self.window, strict=True)]
        part = volume_CDHW[:, *inside]
        if part.shape[1:] == self.window:
            return part
        window = np.full((len(volume_CDHW), *self.window), fill, dtype=volume_CDHW.dtype)
        window[:, *(slice(max(0, -at), max(0, -at) + side)
                    for at, side in zip(begins, part.shape[1:], strict=True))] = part  # fmt: skip
        return window


def _grouped(starts: Sequence[int], depth: int, limit: int) -> tuple[tuple[int, ...], ...]:
    """Join neighbouring starts whose windows together reach over `limit` planes at most."""
    groups: list[list[int]] = [[starts[0]]]
    for start in starts[1:]:
        if start + depth - groups[-1][0] <= limit:
            groups[-1].append(start)
        else:
            groups.append([start])
    return tuple(map(tuple, groups))


def _extent(groups: Sequence[Sequence[int]], depth: int) -> tuple[int, int]:
    """Return the most planes of a group, and the most that neighbouring groups share."""
    shared = (one[-1] + depth - other[0] for one, other in pairwise(groups))
    return max(group[-1] + depth - group[0] for group in groups), max(shared, default=0)


def _starts(side: int, window: int, overlap: float) -> tuple[int, ...]:
    step = window if side == window else max(1, int(window * (1 - overlap)))
    count = 1 + math.ceil((side - window) / step)
    return tuple(min(index * step, side - window) for index in range(count))
