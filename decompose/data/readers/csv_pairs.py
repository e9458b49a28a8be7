"""Reader of CSV manifests of volumes with masks: columns of images and masks, optionally `group`, `split` and `id`.

An image is a NIfTI file or a folder of DICOM slices of one series, a mask a NIfTI file on its voxels: both are turned
into RAS axes by their affines, so they may store their axes in any order. The column of masks is `mask`, or `label`
where its cells are files.

Data entries and paths are as for `csv_manifest`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.formats import dicom
from lorkit.decompose.data.formats import nifti as nifti_files
from lorkit.decompose.data.formats.grids import check_same_grid
from lorkit.decompose.data.preprocessing.recipe import intensity_step
from lorkit.decompose.data.readers import csv_manifest, nifti
from lorkit.decompose.data.readers.csv_paths import locate, require_path_column
from lorkit.decompose.data.readers.csv_table import Table, read_table
from lorkit.decompose.data.readers.image_files import FileImages
from lorkit.decompose.data.samples.open_files import OpenFiles
from lorkit.decompose.data.samples.patients import names_patients
from lorkit.decompose.data.samples.samples import part_name
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import DataError

MASK, LABEL = "mask", "label"
_KNOWN = ("split", "id")


def accepts(entries: list[str]) -> int:
    """Return the number of leading data entries that this reader takes: a table of pairs, and a directory after it."""
    count = csv_manifest.accepts(entries)
    if not count or not Path(entries[0]).is_file():
        return 0
    try:
        return count if mask_column(read_table(Path(entries[0]))) is not None else 0
    except DataError:  # whoever reads the table says what is wrong with it
        return 0


def mask_column(table: Table) -> str | None:
    """Return the column whose cells name masks of volumes; None where there is none."""
    for name in (MASK, LABEL):
        cells = [row[name] for _, row in table.rows if row.get(name)] if name in table.columns else []
        if cells and nifti_files.accepts(Path(cells[0])):
            return name
        # refused by name where it is read; beside labels it may be of a picture
        if cells and cells[0].lower().endswith(dicom.SUFFIXES) and (name == LABEL or LABEL not in table.columns):
            return name
    return None


def read(entries: list[str], config: RegionConfig, files: OpenFiles | None = None) -> Source:
    """Read a table of pairs; voxels are read when asked for.

    Raises:
        DataError: A column, cell or file is missing, a path leads out of the root, or the two lie on other voxels.
    """
    path = Path(entries[0])
    root = Path(entries[1]) if len(entries) > 1 else path.parent
    table = read_table(path)
    masks_in = mask_column(table)
    assert masks_in is not None  # `accepts` has seen it
    without = Table(tuple(name for name in table.columns if name != masks_in), table.rows)
    images_in = require_path_column(without, root, str(path))
    images, masks = ([_located(path, root, table, name, line) for line in range(len(table.rows))]
                     for name in (images_in, masks_in))  # fmt: skip
    labels = nifti.labels_of_masks(path.parent, config)
    found = nifti.MaskFiles(masks, intensity_step(config))
    found.labels = labels
    names = tuple(row[images_in] for _, row in table.rows)
    columns = {name: tuple(row[name] for _, row in table.rows) for name in table.columns}
    known = {*_KNOWN, images_in, masks_in}
    source = Source(
        images=FileImages(images, intensity_step(config), files),
        labels=np.zeros(len(images), dtype=np.int64),
        classes=labels.names,
        ids=tuple(row.get("id") or name for name, (_, row) in zip(names, table.rows, strict=True)),
        names=names,
        groups=names,
        parts=tuple(part_name(row.get("split") or "", f"{path}, line {line}") for line, row in table.rows),
        origin=str(path),
        masks=found,
        spacings=tuple(check_same_grid(image, mask) for image, mask in zip(images, masks, strict=True)),
        columns={name: cells for name, cells in columns.items() if name not in known and not names_patients(name)},
    )
    return csv_manifest.with_groups(source, columns, images)


def _located(path: Path, root: Path, table: Table, column: str, index: int) -> Path:
    line, row = table.rows[index]
    if not row[column]:
        raise DataError(
            f"{path}, line {line}: {column} is empty", required="an image and a mask in every row", fix="fill it"
        )
    return locate(root, row[column], f"{path}, line {line}")
