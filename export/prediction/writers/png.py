"""Masks of pictures as PNG with a palette."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lorkit.decompose.data.formats import dicom
from lorkit.decompose.errors import DataError
from lorkit.export.prediction.masks import png
from lorkit.export.prediction.writers.base import LabelledMask, MaskLabel, MaskSource, file_part


class PngWriter:
    """A picture in the size of the image: pixels are the number of the structure, the palette shows its colour."""

    name = "png"

    def check(self, path: Path) -> None:
        """Raise DataError for a DICOM file of several frames, before a network runs on it."""
        if path.is_file() and dicom.accepts(path) and dicom.count_frames(path) > 1:
            raise _volume(path)

    def suffixes(self, labels: Sequence[MaskLabel], *, overlapping: bool) -> list[str]:
        """Return one suffix, or one per structure that may overlap with others."""
        return [f"_{file_part(label.name)}.png" for label in labels] if overlapping else [".png"]

    def encode(self, mask: LabelledMask, source: MaskSource) -> Iterator[bytes]:
        """Yield the picture, or one per structure with its number.

        Raises:
            DataError: The image is a volume, such as several frames in one DICOM file.
        """
        if mask.values.ndim == 3:
            raise _volume(mask.path)
        if not mask.overlapping:
            yield png(mask.values.astype(np.uint8))
            return
        for label, layer in mask.layers():
            yield png(layer.astype(np.uint8) * np.uint8(label.value))


def _volume(path: Path) -> DataError:
    return DataError(
        f"{path} holds several frames in one DICOM file",
        required="where masks are written, a picture, a NIfTI file, or the folder of a DICOM series",
        fix="convert it with dcm2niix, or leave out --out",
    )
