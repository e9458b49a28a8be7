"""What a reader returns: images, labels or masks, groups and parts, before they are checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.data.samples.columns import Columns


class Images(Protocol):
    """A sized sequence of images; an array of shape (N, H, W[, 3]) is one, and so is a list of files."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """What a reader found, before the checks that all readers share.

    Attributes:
        images: The images, decoded when asked for.
        labels: (N,) integers into `classes`; zeros where there are masks.
        classes: Class names in the source's own order; of masks the names of the values 1, 2, ..., empty where the
            source does not know them.
        ids: A name of each sample, for messages.
        groups: What must not be torn apart by a split: the patient, or the sample itself.
        parts: "train", "val" or "test" as the source states it; None leaves the choice to the split.
        origin: Where the samples came from.
        modality: Imaging modality, where the source knows it.
        synthetic: Whether a program drew the images.
        masks: Of a segmentation, a mask of each image: (H, W) or (D, H, W) uint8.
        columns: What else the source says about each sample, by column.
    """

    images: Images
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    parts: tuple[str | None, ...]
    origin: str
    modality: str | None = None
    synthetic: bool = False
    masks: Images | None = None
    columns: Columns = field(default_factory=dict)
