"""Join the sources of one region: a region may be stated as several files or folders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lorkit.decompose.data.samples import Images, Source


def concatenate(sources: Sequence[Source]) -> Source:
    """Join sources of one region; their classes are matched by name.

    A group that two sources name alike is one group: the same patient may appear in both.
    """
    if len(sources) == 1:
        return sources[0]
    classes = tuple(dict.fromkeys(name for source in sources for name in source.classes))
    maps = [np.array([classes.index(name) for name in source.classes], dtype=np.int64) for source in sources]
    return Source(
        images=JoinedImages([source.images for source in sources]),
        labels=np.concatenate([to[source.labels] for to, source in zip(maps, sources, strict=True)]),
        classes=classes,
        ids=tuple(text for source in sources for text in source.ids),
        groups=tuple(text for source in sources for text in source.groups),
        parts=tuple(part for source in sources for part in source.parts),
        origin=", ".join(source.origin for source in sources),
        modality=next((source.modality for source in sources if source.modality), None),
        synthetic=any(source.synthetic for source in sources),
    )


class JoinedImages:
    """Several image sequences as one."""

    def __init__(self, blocks: Sequence[Images]) -> None:
        self._blocks = blocks
        self._starts = np.cumsum([0, *(len(block) for block in blocks)])

    def __len__(self) -> int:
        """Return the number of images."""
        return int(self._starts[-1])

    def __getitem__(self, index: int, /) -> Any:
        """Return one image."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        block = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._blocks[block][index - int(self._starts[block])]
