"""Masks: which structures each pixel has, one of several or any number of them.

A mask of uint8 has one structure in a pixel: 0 is the background, 1 to S are the structures, and `IGNORED` pixels count
in neither loss nor score. In a mask of uint32 structures may overlap: bit s - 1 says whether structure s is there, and
bit 31 that the pixel counts nowhere. The type of a mask says which of both it is.

Shapes: S structures; a mask is (*spatial), or any number of them, (N, *spatial).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import IGNORED, IGNORED_BIT, Bits, Ints, Mask


def may_overlap(mask: NDArray[Any]) -> bool:
    """Return whether a mask is of structures that may overlap."""
    return mask.dtype == np.uint32


def counted(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which pixels count: all but those that nobody has labelled."""
    known: NDArray[np.bool_] = mask < IGNORED_BIT if may_overlap(mask) else mask != IGNORED
    return known


def of_structure(mask: NDArray[Any], structure: int) -> NDArray[np.bool_]:
    """Return where a structure is, by its number from 1; nowhere in pixels that do not count."""
    bit = 1 << (structure - 1)
    there: NDArray[np.bool_] = mask & np.uint32(bit | IGNORED_BIT) == bit if may_overlap(mask) else mask == structure
    return there


def pixel_counts(mask: NDArray[Any], structures: int) -> Ints:
    """Return (S,): the pixels of each structure, without those that count nowhere."""
    if may_overlap(mask):
        found = np.zeros(structures, dtype=np.int64)
        for index in range(min(structures, largest_structure(mask))):
            found[index] = of_structure(mask, index + 1).sum()
        return found
    counts = np.bincount(mask.reshape(-1), minlength=IGNORED + 1)
    counts[IGNORED] = 0
    return counts[1 : structures + 1].astype(np.int64)


def largest_structure(mask: NDArray[Any]) -> int:
    """Return the largest number of a structure in a mask, 0 where it is empty."""
    if may_overlap(mask):
        return int(np.bitwise_or.reduce(mask, axis=None, initial=np.uint32(0)) & ~np.uint32(IGNORED_BIT)).bit_length()
    return int(mask.max(initial=0, where=mask != IGNORED))


def join_structures(there: Iterable[NDArray[np.bool_]]) -> Bits:
    """Return the mask of structures that may overlap, from where each of them is, (*spatial), in their order."""
    mask: Bits | None = None
    for index, one in enumerate(there):
        own = one.astype(np.uint32) << np.uint32(index)
        mask = own if mask is None else mask | own
    assert mask is not None  # a region has a structure
    return mask


def as_overlapping(mask: Mask) -> Bits:
    """Return a mask of one structure per pixel as one of structures that may overlap; none above 31."""
    bits = np.zeros(256, dtype=np.uint32)
    bits[1:32] = np.uint32(1) << np.arange(31, dtype=np.uint32)
    bits[IGNORED] = IGNORED_BIT
    return bits[mask]
