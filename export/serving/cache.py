"""Sums of the places that were used last, in memory, for as long as they are those of the store.

Shapes: C classes, F features, P places.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lorkit.decompose.artifacts.arrays import Floats
from lorkit.export.serving.counters import Layout, Place

PLACES, BYTES = 65_536, 32 * 2**20
"""Most places, and most bytes of their sums, that a store keeps in memory."""


class CounterCache:
    """A part of the sums of a store; it is emptied when it is full.

    Args:
        layout: What is counted.
        places: Most places.
        size: Most bytes of their sums.
    """

    def __init__(self, layout: Layout, *, places: int = PLACES, size: int = BYTES) -> None:
        width = int(np.prod(layout.shape)) * np.dtype(np.float64).itemsize
        self._sums = np.empty((min(places, size // width), *layout.shape))
        self._slots: dict[Place, int] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def clear(self) -> None:
        """Forget all."""
        self._slots.clear()

    def read(self, places: Sequence[Place], missing: Callable[[Sequence[Place]], Floats]) -> Floats:
        """Return the sums (P, C+1, F+1) at some places, each named once; `missing` reads those that are not here."""
        absent = [place for place in places if place not in self._slots]
        if len(self._slots) + len(absent) > len(self._sums):
            self.clear()
            absent = list(places)
        if len(absent) > len(self._sums):
            return missing(places)
        if absent:
            start = len(self._slots)
            self._sums[start : start + len(absent)] = missing(absent)
            self._slots.update(zip(absent, range(start, start + len(absent)), strict=True))
        return self._sums[[self._slots[place] for place in places]]

    def write(self, places: Sequence[Place], sums: Floats) -> None:
        """Replace the sums (P, C+1, F+1) at those of some places that are here."""
        slot_P = np.array([self._slots.get(place, -1) for place in places], dtype=np.intp)
        self._sums[slot_P[slot_P >= 0]] = sums[slot_P >= 0]
