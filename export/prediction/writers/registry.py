"""The formats of masks by the names of `--to`."""

from __future__ import annotations

from pathlib import Path

from lorkit.decompose.data.formats import nifti
from lorkit.decompose.errors import unknown
from lorkit.export.prediction.writers.base import Writer
from lorkit.export.prediction.writers.dicom_seg import DicomSegWriter
from lorkit.export.prediction.writers.nifti import NiftiWriter
from lorkit.export.prediction.writers.png import PngWriter

NAMED: dict[str, Writer] = {writer.name: writer for writer in (NiftiWriter(), DicomSegWriter())}
"""Formats of volumes; pictures are always written as PNG."""
_PNG = PngWriter()


def check_format(name: str | None) -> None:
    """Raise UsageError for a name that is no format of volumes."""
    if name is not None and name not in NAMED:
        raise unknown("format", name, NAMED, fix="choose one of them with --to")


def writer_of(path: Path, wanted: str | None = None) -> Writer:
    """Return the writer of an image's mask: the one that is named, else NIfTI for volumes and PNG for pictures.

    Raises:
        UsageError: The name is unknown, or the writer does not take the image.
        DataError: The image lacks what the writer needs.
        MissingRuntimeError: The writer needs a package that is not installed.
    """
    check_format(wanted)
    volume = path.is_dir() or nifti.accepts(path)
    writer = NAMED[wanted] if wanted is not None else NAMED["nifti"] if volume else _PNG
    writer.check(path)
    return writer
