"""Segmentation masks: check their values, name and count their structures.

Shapes: N samples, S structures; a mask is (H, W) or (D, H, W) uint8, 0 for background and 1..S for structures, or of
structures that may overlap uint32 with a bit for each; see `artifacts.masks`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import IGNORED, MOST_OVERLAPPING, Bits
from lorkit.decompose.artifacts.masks import as_overlapping, largest_structure, may_overlap, pixel_counts
from lorkit.decompose.data.samples.label_table import MULTILABEL, check_both_answers, choose_columns
from lorkit.decompose.data.samples.mask_labels import BACKGROUND
from lorkit.decompose.errors import DataError, UsageError

if TYPE_CHECKING:
    from lorkit.decompose.config import RegionConfig
    from lorkit.decompose.data.samples.source import Images, Source


class Masks(NamedTuple):
    """The masks of a region.

    Attributes:
        structures: Names of the values 1..S.
        digests: SHA-256 of each mask.
        present: (N, S) whether a structure is in a mask.
    """

    structures: tuple[str, ...]
    digests: tuple[str, ...]
    present: NDArray[np.bool_]


def without_background(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the structures without a leading background, which is value 0."""
    return names[1:] if names and names[0].strip().lower() == BACKGROUND else names


class OverlappingMasks:
    """Masks with a bit for each structure, whatever kind their source has."""

    def __init__(self, masks: Images, ids: Sequence[str]) -> None:
        self._masks, self._ids = masks, ids

    def __len__(self) -> int:
        """Return the number of masks."""
        return len(self._masks)

    def __getitem__(self, index: int, /) -> Bits:
        """Return one mask, (*spatial) uint32; raise DataError for a number without a bit."""
        mask: NDArray[Any] = self._masks[index]
        if may_overlap(mask):
            return mask
        largest = largest_structure(mask)
        if largest > MOST_OVERLAPPING:
            raise DataError(
                f"value {largest} in the mask of sample '{self._ids[index]}', whose structures may overlap",
                required=f"0 (background) to {MOST_OVERLAPPING}",
                fix="name the numbers: structures: {name: [number, ...]}",
            )
        return as_overlapping(mask.astype(np.uint8, copy=False))


def with_overlap(name: str, config: RegionConfig, source: Source) -> Source:
    """Return a source whose structures may overlap, if its region says so.

    Raises:
        UsageError: It has no masks.
    """
    if not config.may_overlap:
        return source
    if source.masks is None:
        raise UsageError(
            f"region '{name}' states overlap",
            required=f"masks: {source.origin} has labels",
            fix="leave overlap out, or correct the data",
        )
    return replace(source, masks=OverlappingMasks(source.masks, source.ids), overlap=True)


def read_masks(name: str, config: RegionConfig, source: Source, *, complete: bool) -> Masks:
    """Check every mask of a source.

    Args:
        name: Region name.
        config: The region's settings; `structures` names the values.
        source: The result of the reader.
        complete: Require a sample of every structure.

    Raises:
        UsageError: `classes` are stated, or `structures` differ from those of the source.
        DataError: A mask has another shape than its image or a value without a name, or a structure is in no mask.
    """
    assert source.masks is not None
    stated = _stated(name, config, source)
    _check_number(name, stated, overlap=source.overlap)
    digests, values = [], []
    for index in range(len(source.images)):
        mask = source.masks[index]
        _check_shape(name, source, index, mask)
        digests.append(hashlib.sha256(f"{mask.shape}".encode() + np.ascontiguousarray(mask).tobytes()).hexdigest())
        values.append(pixel_counts(mask, MOST_OVERLAPPING if source.overlap else IGNORED - 1) > 0)
    present_NV = np.stack(values)
    largest = int(np.flatnonzero(present_NV.any(0)).max(initial=-1)) + 1
    structures = stated or tuple(str(value) for value in range(1, largest + 1))
    if largest > len(structures):
        first = int(np.flatnonzero(present_NV[:, largest - 1])[0])
        raise DataError(
            f"region '{name}': value {largest} in the mask of sample '{source.ids[first]}'",
            required=f"0 (background) to {len(structures)} ({', '.join(structures)})",
            fix="correct the masks, or name all structures",
        )
    present = present_NV[:, : len(structures)]
    if complete:
        _check_every_structure(name, structures, present, source.origin)
    return Masks(structures, tuple(digests), present)


def _check_number(name: str, structures: tuple[str, ...], *, overlap: bool) -> None:
    if overlap and len(structures) > MOST_OVERLAPPING:
        raise DataError(
            f"region '{name}' with {len(structures)} structures that may overlap",
            required=f"at most {MOST_OVERLAPPING}",
            fix="make several regions of them, or leave overlap out",
        )


def _stated(name: str, config: RegionConfig, source: Source) -> tuple[str, ...]:
    if config.classes is not None:
        raise UsageError(
            f"region '{name}' states classes and has masks",
            required="structures: the names of the values 1, 2, ... of a mask",
            fix="state structures instead of classes",
        )
    stated = tuple(config.structures or ())
    if isinstance(config.structures, dict):  # the reader has mapped its numbers, in their order
        return source.classes
    if stated and source.classes and stated != source.classes:
        raise UsageError(
            f"region '{name}' states structures {', '.join(stated)}",
            required=f"those that {source.origin} names, in its order: {', '.join(source.classes)}",
            fix="correct structures, or leave it out",
        )
    return stated or source.classes


def _check_shape(name: str, source: Source, index: int, mask: NDArray[np.uint8]) -> None:
    shape = source.images[index].shape
    wanted = shape[: mask.ndim] if len(shape) == mask.ndim + 1 and shape[-1] == 3 else shape
    if mask.shape != wanted:
        raise DataError(
            f"sample '{source.ids[index]}' of region '{name}': a mask of shape {mask.shape} for an image of {shape}",
            required="a value for every pixel of the image",
            fix="repair the pair or leave it out",
        )


def _check_every_structure(name: str, structures: tuple[str, ...], present: NDArray[np.bool_], origin: str) -> None:
    for text, present_N in zip(structures, present.T, strict=True):
        if not present_N.any():
            raise DataError(
                f"structure '{text}' of region '{name}' is in no mask of {origin}",
                required="at least one sample of every structure",
                fix="add samples or remove the structure",
            )
    if not structures:
        raise DataError(
            f"the masks of region '{name}' in {origin} are empty",
            required="at least one structure",
            fix="check that structures have values from 1",
        )


def labels_in_order(name: str, source: Source, classes: tuple[str, ...], *, complete: bool) -> NDArray[np.int64]:
    """Return the labels of a source in the order of a region's classes; zeros where there are masks.

    Raises:
        DataError: A class or label is missing or out of range; if `complete`, also one without samples.
    """
    if source.task == MULTILABEL:
        table = choose_columns(source.labels, source.classes, classes, source.origin)
        if complete:
            check_both_answers(table, classes, f"region '{name}' in {source.origin}")
        return table
    if source.masks is not None:
        return source.labels
    labels = relabel(name, source, classes)
    if complete:
        check_every_class(name, classes, labels, source.origin)
    return labels


def relabel(name: str, source: Source, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Map labels from the source's classes to `classes` by name; raise DataError if one is missing."""
    wrong = np.flatnonzero((source.labels < 0) | (source.labels >= len(source.classes)))
    if len(wrong):
        first = int(wrong[0])
        raise DataError(
            f"region '{name}': label {int(source.labels[first])} of sample '{source.ids[first]}' ({len(wrong)} wrong)",
            required=f"0 to {len(source.classes) - 1} ({', '.join(source.classes)})",
            fix="correct the labels or state all classes",
        )
    if classes == source.classes:
        return source.labels
    for index in np.unique(source.labels):
        if source.classes[int(index)] not in classes:
            raise DataError(
                f"region '{name}': class '{source.classes[int(index)]}' in {source.origin}",
                required=f"one of {', '.join(classes)}",
                fix="add it to the region's classes or leave those samples out",
            )
    positions = [classes.index(text) if text in classes else -1 for text in source.classes]
    return np.array(positions, dtype=np.int64)[source.labels]


def check_every_class(name: str, classes: tuple[str, ...], labels: NDArray[np.int64], origin: str) -> None:
    """Raise DataError when a class has no sample."""
    counts = np.bincount(labels, minlength=len(classes))
    for text, count in zip(classes, counts, strict=True):
        if count == 0:
            raise DataError(
                f"class '{text}' of region '{name}' has no sample in {origin}",
                required="at least one sample of every class",
                fix="add samples or remove the class",
            )
