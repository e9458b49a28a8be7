"""Labels of a classification: checked, and brought to the configured order of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.errors import DataError

if TYPE_CHECKING:
    from lorkit.decompose.data.samples import Source


def relabel(name: str, source: Source, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Map labels from the source's class order to `classes`, by name, or raise DataError where one has no name."""
    wrong = np.flatnonzero((source.labels < 0) | (source.labels >= len(source.classes)))
    if len(wrong):
        first = int(wrong[0])
        raise DataError(
            f"region '{name}': label {int(source.labels[first])} of sample '{source.ids[first]}' ({len(wrong)} such)",
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
