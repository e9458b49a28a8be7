"""Masks of volumes as NIfTI: on the grid of a NIfTI file, or of a DICOM series with the affine that its tags state.

The names of the values stand in an extension of the header, as TotalSegmentator writes and reads them: XML of the
Connectome Workbench with extension code 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.data.formats import dicom_series, nifti
from lorkit.decompose.data.formats.dicom_geometry import from_ras
from lorkit.decompose.data.formats.nifti_grid import nifti_bytes, nifti_of_affine
from lorkit.decompose.errors import DataError, UsageError
from lorkit.export.prediction.masks import colour
from lorkit.export.prediction.writers.base import LabelledMask, MaskLabel, MaskSource, file_part


class NiftiWriter:
    """Compressed NIfTI: one file, or one per structure where structures overlap."""

    name = "nifti"

    def check(self, path: Path) -> None:
        """Raise UsageError for pictures, and DataError for a series that does not state where its voxels lie."""
        if nifti.accepts(path):
            return
        if not path.is_dir():
            raise UsageError(
                f"--to nifti for {path}, which is no volume with a grid",
                required="NIfTI files, or folders of the slices of a DICOM series",
                fix="leave --to out for pictures; name the folder of a series, not its files",
            )
        if dicom_series.read_grid(path).affine_44 is None:
            raise DataError(
                f"{path} states no pixel spacing",
                required="slices with PixelSpacing, which places the voxels of a NIfTI file",
                fix="export the series again with it",
            )

    def suffixes(self, labels: Sequence[MaskLabel], *, overlapping: bool) -> list[str]:
        """Return one suffix, or one per structure that may overlap with others."""
        return [f"_{file_part(label.name)}.nii.gz" for label in labels] if overlapping else [".nii.gz"]

    def encode(self, mask: LabelledMask, source: MaskSource) -> Iterator[bytes]:
        """Yield the file, or one per structure that holds its number."""
        if not mask.overlapping:
            yield _encoded(mask.path, mask.values, mask.labels)
            return
        for label, layer in mask.layers():
            yield _encoded(mask.path, layer.astype(np.uint8) * np.uint8(label.value), [label])


def label_xml(labels: Sequence[MaskLabel]) -> bytes:
    """Return the table of labels of a NIfTI header: value, name and colour, with the background."""
    rows = ['<Label Key="0" Red="0" Green="0" Blue="0" Alpha="0">background</Label>']
    for label in labels:
        red, green, blue = (f"{part / 255:.4f}" for part in colour(label.value))
        shade = f'Red="{red}" Green="{green}" Blue="{blue}" Alpha="1"'
        rows.append(f'<Label Key="{label.value}" {shade}>{escape(label.name, quote=False)}</Label>')
    table = "".join(rows)
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><CaretExtension><VolumeInformation Index="0">'
        f"<LabelTable>{table}</LabelTable><StudyMetaDataLinkSet></StudyMetaDataLinkSet>"
        "<VolumeType>Label</VolumeType></VolumeInformation></CaretExtension>"
    )
    return text.encode()


def _encoded(path: Path, values: NDArray[Any], labels: Sequence[MaskLabel]) -> bytes:
    names = label_xml(labels)
    if nifti.accepts(path):
        return nifti_bytes(values, path, names)
    grid = dicom_series.read_grid(path)
    assert grid.affine_44 is not None  # `check` has seen it
    slices_FHW = from_ras(grid.stack, values)
    return nifti_of_affine(np.ascontiguousarray(slices_FHW.transpose(2, 1, 0)), grid.affine_44, names)
