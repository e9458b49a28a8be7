"""Where the mask of one image is written, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lorkit.export.prediction.writers.base import LabelledMask, MaskLabel, MaskSource, Writer
from lorkit.export.prediction.writers.spool import Spool


@dataclass(frozen=True)
class MaskTarget:
    """The files of one image's mask.

    Attributes:
        spool: Where they are kept until all images are predicted.
        stem: What their names begin with.
        writer: Their format.
        source: What made the mask.
    """

    spool: Spool
    stem: str
    writer: Writer
    source: MaskSource

    def names(self, labels: Sequence[MaskLabel], *, overlapping: bool = False) -> list[str]:
        """Return the names of the files: one, or one per structure where they overlap and the format has no layers."""
        return [f"{self.stem}{suffix}" for suffix in self.writer.suffixes(labels, overlapping=overlapping)]

    @property
    def preview(self) -> str:
        """Name of the picture of the image with its mask."""
        return f"{self.stem}_preview.png"

    def write(self, mask: LabelledMask) -> list[str]:
        """Write the files and return their names.

        Raises:
            DataError: The format needs what the image does not state.
            StorageError: There is no room for a file.
        """
        names = self.names(mask.labels, overlapping=mask.overlapping)
        for name, content in zip(names, self.writer.encode(mask, self.source), strict=True):
            self.spool.add(name, content)
        return names
