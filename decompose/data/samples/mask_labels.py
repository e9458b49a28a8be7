"""What the numbers in masks mean: names, ids with gaps, and a label that is ignored.

Whatever numbers a file holds, a mask as lorkit keeps it has 0 for background, 1..S for structures, and `IGNORED`, or,
if structures may overlap, a bit for each of them; see `artifacts.masks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import IGNORED, IGNORED_BIT, MOST_OVERLAPPING, Bits, Mask
from lorkit.decompose.errors import DataError, UsageError

BACKGROUND, IGNORE = "background", "ignore"
_MOST = IGNORED - 1
_NEARLY = 1e-3  # labels that a resampling or a scale factor has moved by rounding


@dataclass(frozen=True, kw_only=True)
class MaskLabels:
    """Names of the numbers in masks.

    Attributes:
        names: Structures 1..S.
        ids: The number of each structure in the files.
        ignored: Number of pixels that nobody has labelled; None where there is none.
        subset: Whether further numbers may occur; they are background.
    """

    names: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()
    ignored: int | None = None
    subset: bool = False

    @classmethod
    def of(cls, numbers: Mapping[str, int], *, subset: bool = False) -> MaskLabels:
        """Return the labels of a mapping of names to numbers; 0 is the background, and `ignore` is no structure.

        Raises:
            ValueError: A number is given twice or is below 0, or there are too many.
        """
        named = {name: number for name, number in numbers.items() if number and name.strip().lower() != IGNORE}
        ignored = next((number for name, number in numbers.items() if name.strip().lower() == IGNORE), None)
        others = [*named.values(), *([] if ignored is None else [ignored])]
        if len(set(others)) < len(others) or min(others, default=1) < 1:
            raise ValueError("numbers from 1, each once; 0 is the background")
        if len(named) > _MOST:
            raise ValueError(f"at most {_MOST} structures")
        order = sorted(named, key=named.__getitem__)
        return cls(names=tuple(order), ids=tuple(named[name] for name in order), ignored=ignored, subset=subset)

    def __call__(self, values: NDArray[Any], where: str) -> Mask:
        """Return masks of any shape with 0, 1..S and `IGNORED`.

        Raises:
            DataError: A value is not a whole number, or has no name.
        """
        whole = whole_numbers(values, where)
        if not self.ids:
            return _as_bytes(whole, where)
        known = {number: index for index, number in enumerate(self.ids, start=1)}
        if self.ignored is not None:
            known[self.ignored] = IGNORED
        numbers = zip(self.ids, self.names, strict=True)
        mask: Mask = _mapped(whole, known, None if self.subset else numbers, where).astype(np.uint8)
        return mask


@dataclass(frozen=True, kw_only=True)
class OverlappingLabels:
    """Names of the numbers in masks whose structures may overlap.

    Attributes:
        names: Structures 1..S, in the order in which they are stated.
        ids: The numbers of each structure in the files; a number may be of several structures.
        ignored: Number of pixels that nobody has labelled; None where there is none.
        subset: Whether further numbers may occur; they are background.
    """

    names: tuple[str, ...]
    ids: tuple[tuple[int, ...], ...]
    ignored: int | None = None
    subset: bool = False

    @classmethod
    def of(cls, numbers: Mapping[str, Numbers], *, subset: bool = False) -> OverlappingLabels:
        """Return the labels of a mapping of names to one number or several; 0 is the background.

        Raises:
            ValueError: A number is below 1, the ignored one is also a structure, or there are too many structures.
        """
        several = {name: one if isinstance(one, tuple) else (one,) for name, one in numbers.items() if one != 0}
        named = {name: own for name, own in several.items() if name.strip().lower() not in (IGNORE, BACKGROUND)}
        unlabelled = next((own for name, own in several.items() if name.strip().lower() == IGNORE), ())
        used = {number for own in named.values() for number in own}
        if min(used, default=1) < 1 or len(unlabelled) > 1 or used & set(unlabelled):
            raise ValueError("numbers from 1; 0 is the background, and the ignored number is of no structure")
        if len(named) > MOST_OVERLAPPING:
            raise ValueError(f"at most {MOST_OVERLAPPING} structures that may overlap")
        ignored = unlabelled[0] if unlabelled else None
        return cls(names=tuple(named), ids=tuple(named.values()), ignored=ignored, subset=subset)

    def __call__(self, values: NDArray[Any], where: str) -> Bits:
        """Return masks of any shape with a bit for each structure; see `artifacts.masks`.

        Raises:
            DataError: A value is not a whole number, or has no name.
        """
        known: dict[int, int] = {}
        for index, own in enumerate(self.ids):
            for number in own:
                known[number] = known.get(number, 0) | 1 << index
        if self.ignored is not None:
            known[self.ignored] = IGNORED_BIT
        numbers = [(number, name) for name, own in zip(self.names, self.ids, strict=True) for number in own]
        return _mapped(whole_numbers(values, where), known, None if self.subset else numbers, where)


Numbers = int | tuple[int, ...]
"""The number of a structure, or its numbers where structures may overlap."""
AnyLabels = MaskLabels | OverlappingLabels


def labels_of(structures: Mapping[str, Numbers], *, overlap: bool = False) -> AnyLabels:
    """Return the labels that a region states as names and numbers; numbers without a name are background.

    Args:
        structures: Names and numbers.
        overlap: Whether structures may overlap.

    Raises:
        UsageError: The numbers are not distinct although structures do not overlap, or below 1.
    """
    try:
        if overlap:
            return OverlappingLabels.of(structures, subset=True)
        return MaskLabels.of({name: _single(one) for name, one in structures.items()}, subset=True)
    except ValueError as error:
        text = ", ".join(f"{name}: {list(one) if isinstance(one, tuple) else one}" for name, one in structures.items())
        raise UsageError(
            f"structures {{{text}}}",
            required=str(error),
            fix="correct structures" if overlap else "correct structures, or state overlap: true if they may overlap",
        ) from None


def _single(numbers: Numbers) -> int:
    if isinstance(numbers, tuple):
        raise ValueError("one number per structure")
    return numbers


def _mapped(
    whole: NDArray[Any], known: Mapping[int, int], numbers: Iterable[tuple[int, str]] | None, where: str
) -> NDArray[np.uint32]:
    """Return what each number becomes, 0 for others; `numbers` names the only ones that may occur."""
    found = np.unique(whole)
    unknown = [int(number) for number in found if number and int(number) not in known]
    if unknown and numbers is not None:
        raise DataError(
            f"{where}: value {unknown[0]} in a mask",
            required="0 (background), " + ", ".join(f"{number} ({name})" for number, name in numbers),
            fix="correct the masks, or name all structures",
        )
    targets = np.array([known.get(int(number), 0) for number in found], dtype=np.uint32)
    mask: NDArray[np.uint32] = targets[np.searchsorted(found, whole)]
    return mask


def whole_numbers(values: NDArray[Any], where: str) -> NDArray[Any]:
    """Return integers; floating values that rounding has moved a little are rounded.

    Raises:
        DataError: A value is not a whole number.
    """
    if values.dtype.kind in "bui":
        return values
    if values.dtype.kind != "f":
        raise DataError(f"{where}: a mask of dtype {values.dtype}", required="whole numbers", fix="convert it")
    nearest = np.rint(values)
    wrong = ~np.isclose(values, nearest, rtol=0.0, atol=_NEARLY) | ~np.isfinite(values)
    if wrong.any():
        raise DataError(
            f"{where}: value {values[wrong].flat[0]:.9g} in a mask ({int(wrong.sum())} such pixels)",
            required="whole numbers",
            fix="store the index of the structure in each pixel",
        )
    return np.asarray(nearest, dtype=np.int64)


def _as_bytes(whole: NDArray[Any], where: str) -> Mask:
    if whole.dtype != np.uint8 and whole.size and (whole.min() < 0 or whole.max() > _MOST):
        raise DataError(
            f"{where}: a mask with values {int(whole.min())} to {int(whole.max())}",
            required=f"whole numbers from 0 (background) to at most {_MOST}",
            fix="name the numbers: structures: {name: number}",
        )
    return whole.astype(np.uint8, copy=False)
