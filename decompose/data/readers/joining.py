"""Join the sources of one region, which can be several files or folders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lorkit.decompose.data.samples.columns import join_columns
from lorkit.decompose.data.samples.source import Images, Source
from lorkit.decompose.errors import DataError


def concatenate(sources: Sequence[Source]) -> Source:
    """Join sources of one region; classes are matched by name.

    Groups of the same name in two sources are one group: the same patient may appear in both.

    Raises:
        DataError: Some have masks and others labels, or their structures differ.
    """
    if len(sources) == 1:
        return sources[0]
    masks = _join_masks(sources)
    named = [source.classes for source in sources if source.classes]
    classes = tuple(dict.fromkeys(name for names in named for name in names))
    if masks is not None and any(names != classes for names in named):
        raise DataError(
            f"{sources[0].origin} and others name structures {' and '.join(', '.join(names) for names in named)}",
            required="the same structures in the same order in all data of a region",
            fix="name them alike, or make regions of them",
        )
    maps = [np.array([classes.index(name) for name in source.classes], dtype=np.int64) for source in sources]
    return Source(
        images=JoinedImages([source.images for source in sources]),
        labels=np.concatenate(
            [
                source.labels if masks is not None else to[source.labels]
                for to, source in zip(maps, sources, strict=True)
            ]
        ),
        classes=classes,
        ids=tuple(text for source in sources for text in source.ids),
        groups=tuple(text for source in sources for text in source.groups),
        parts=tuple(part for source in sources for part in source.parts),
        origin=", ".join(source.origin for source in sources),
        modality=next((source.modality for source in sources if source.modality), None),
        synthetic=any(source.synthetic for source in sources),
        masks=masks,
        columns=join_columns([(source.columns, len(source.labels)) for source in sources]),
    )


def _join_masks(sources: Sequence[Source]) -> Images | None:
    masks = [source.masks for source in sources if source.masks is not None]
    if 0 < len(masks) < len(sources):
        raise DataError(
            f"{len(masks)} of {len(sources)} data sources of a region have masks",
            required="masks in all of them, or labels in all of them",
            fix="make regions of them",
        )
    return JoinedImages(masks) if masks else None


class JoinedImages:
    """Several image sequences as one."""

    def __init__(self, blocks: Sequence[Images]) -> None:
        self._blocks = blocks
        self._starts = np.cumsum([0, *(len(block) for block in blocks)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int, /) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        block = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._blocks[block][index - int(self._starts[block])]
