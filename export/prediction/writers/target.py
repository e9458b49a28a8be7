"""Where the mask of one image is written, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lorkit.decompose.artifacts import write_bytes
from lorkit.export.prediction.writers.base import LabelledMask, MaskLabel, MaskSource, Writer


@dataclass(frozen=True)
class MaskTarget:
    """The files of one image's mask.

    Attributes:
        folder: Where they are written.
        stem: What their names begin with.
        writer: Their format.
        source: What made the mask.
    """

    folder: Path
    stem: str
    writer: Writer
    source: MaskSource

    def names(self, labels: Sequence[MaskLabel], *, overlapping: bool = False) -> list[str]:
        """Return the names of the files: one, or one per structure where they overlap and the format has no layers."""
        return [f"{self.stem}{suffix}" for suffix in self.writer.suffixes(labels, overlapping=overlapping)]

    def write(self, mask: LabelledMask) -> list[str]:
        """Write the files and return their names.

        Raises:
            DataError: The format needs what the image does not state.
            StorageError: A file cannot be written.
        """
        names = self.names(mask.labels, overlapping=mask.overlapping)
        for name, content in zip(names, self.writer.encode(mask, self.source), strict=True):
            write_bytes(self.folder / name, content)
        return names
