"""What the numbers in masks mean: names, ids with gaps, and a label that is ignored.

Whatever numbers a file holds, a mask as lorkit keeps it has 0 for background, 1..S for structures, and `IGNORED`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import IGNORED, Mask
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
        found = np.unique(whole)
        known = {0: 0, **{number: index for index, number in enumerate(self.ids, start=1)}}
        if self.ignored is not None:
            known[self.ignored] = IGNORED
        unknown = [int(number) for number in found if int(number) not in known]
        if unknown and not self.subset:
            raise DataError(
                f"{where}: value {unknown[0]} in a mask",
                required="0 (background), "
                + ", ".join(f"{number} ({name})" for number, name in zip(self.ids, self.names, strict=True)),
                fix="correct the masks, or name all structures",
            )
        targets = np.array([known.get(int(number), 0) for number in found], dtype=np.uint8)
        mask: Mask = targets[np.searchsorted(found, whole)]
        return mask


def labels_of(structures: Mapping[str, int]) -> MaskLabels:
    """Return the labels that a region states as names and numbers; numbers without a name are background.

    Raises:
        UsageError: The numbers are not distinct, or below 1.
    """
    try:
        return MaskLabels.of(structures, subset=True)
    except ValueError as error:
        text = ", ".join(f"{name}: {number}" for name, number in structures.items())
        raise UsageError(f"structures {{{text}}}", required=str(error), fix="correct structures") from None


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
