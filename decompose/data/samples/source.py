"""What a reader returns: images, labels or masks, groups and parts, before they are checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.data.samples.columns import Columns
from lorkit.decompose.data.samples.label_table import MULTILABEL


class Images(Protocol):
    """A sized sequence of images, such as an array (N, H, W[, 3]) or a list of files."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """The result of a reader, before the checks that all readers share.

    Attributes:
        images: The images, decoded on access.
        labels: (N,) integers into `classes`; zeros if there are masks. Of several labels per sample (N, L): 1, 0, or
            -1 for uncertain.
        classes: Class names in the source's order; of masks the names of the values 1, 2, ..., empty if unknown; of
            several labels their names.
        ids: Name of each sample, for messages.
        names: File of each sample as the data name it, in which patterns find patients; empty: `ids`.
        groups: Unit that a split keeps together: the patient, or the sample itself.
        parts: "train", "val" or "test" as stated by the source; None leaves the choice to the split.
        origin: Location of the samples.
        modality: Imaging modality, if the source states it.
        synthetic: Whether the images were drawn by a program.
        masks: Mask of each image: (H, W) or (D, H, W) uint8, or uint32 if structures may overlap (`artifacts.masks`).
        overlap: Whether structures may overlap.
        spacings: Distance of neighbours along each axis of each mask, in mm; None where a file states none; empty: of
            no mask.
        columns: Further columns of the source.
        grouped: Whether `groups` states patients or other units; False: each image is its own group.
        identifying: Whether `groups` are ids of patients, in whose place keyed hashes are used.
        notices: What the user should know about how the source was read.
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
    overlap: bool = False
    spacings: tuple[tuple[float, ...] | None, ...] = ()
    names: tuple[str, ...] = ()
    columns: Columns = field(default_factory=dict)
    grouped: bool = False
    identifying: bool = False
    notices: tuple[str, ...] = ()

    @property
    def task(self) -> str:
        """The task of the targets."""
        if self.masks is not None:
            return "structures" if self.overlap else "segmentation"
        return "classification" if self.labels.ndim == 1 else MULTILABEL
