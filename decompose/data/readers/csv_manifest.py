"""Reader of CSV manifests of image files: a column of paths, and `label`, optionally `group`, `split`, `id` and others.

The column of paths is `path`, or the one whose cells name images. The region's `label` names another column of labels.
With `task: multilabel`, the columns named by the region's `classes` are its labels instead of `label`: 1, 0, or -1 or
empty for uncertain.

Two data entries `[manifest.csv, images/]` are the manifest and the root of its paths; with one, the root is the
manifest's directory. Paths that lead out of the root are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.preprocessing.recipe import intensity_step
from lorkit.decompose.data.readers.csv_paths import locate, require_path_column
from lorkit.decompose.data.readers.csv_table import read_table
from lorkit.decompose.data.readers.dicom_patients import patients_in_headers
from lorkit.decompose.data.readers.image_files import FileImages
from lorkit.decompose.data.samples.label_table import MULTILABEL, NEGATIVE, POSITIVE, UNCERTAIN
from lorkit.decompose.data.samples.open_files import OpenFiles
from lorkit.decompose.data.samples.patients import names_patients, stated_groups
from lorkit.decompose.data.samples.samples import encode, order_classes, part_name
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import DataError

LABEL = "label"
SUFFIXES = (".csv", ".tsv")
_KNOWN = ("path", LABEL, "split", "id")
_Rows = list[tuple[int, dict[str, str]]]


def accepts(entries: list[str]) -> int:
    """Return the number of leading data entries that this reader takes: a table, and a directory after it."""
    if Path(entries[0]).suffix.lower() not in SUFFIXES:
        return 0
    return 2 if len(entries) > 1 and Path(entries[1]).is_dir() else 1


def read(entries: list[str], config: RegionConfig, files: OpenFiles | None = None) -> Source:
    """Read a manifest; images are decoded on access.

    Raises:
        DataError: A column, label or file is missing, or a path leads out of the root.
    """
    path = Path(entries[0])
    root = Path(entries[1]) if len(entries) > 1 else path.parent
    many = config.task == MULTILABEL
    manifest = read_manifest(path, root, () if many else (label_column(config),))
    rows, paths, names = manifest.rows, manifest.images, manifest.names
    columns = {name: tuple(row.get(name, "") for _, row in rows) for name in rows[0][1]} if rows else {}
    labels, classes = _label_columns(path, manifest, config) if many else _label_column(path, rows, config)
    known = {*_KNOWN, manifest.column, label_column(config), *(name.strip().lower() for name in classes if many)}
    source = Source(
        images=FileImages(paths, intensity_step(config), files),
        labels=labels,
        classes=classes,
        ids=tuple(row.get("id") or name for name, (_, row) in zip(names, rows, strict=True)),
        names=names,
        groups=names,
        parts=tuple(part_name(row.get("split") or "", f"{path}, line {line}") for line, row in rows),
        origin=str(path),
        columns={
            name: cells for name, cells in columns.items() if name and name not in known and not names_patients(name)
        },
    )
    return with_groups(source, columns, paths)


def label_column(config: RegionConfig) -> str:
    """Return the column of a region's labels."""
    return LABEL if config.label is None else config.label.strip().lower()


def _label_column(path: Path, rows: _Rows, config: RegionConfig) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    column = label_column(config)
    names = [row[column] for _, row in rows]
    classes = config.classes or order_classes(names)
    return encode(names, str(path), classes), classes


def _label_columns(path: Path, manifest: Manifest, config: RegionConfig) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the table of the columns that the region's classes name."""
    rows, known = manifest.rows, {*_KNOWN, manifest.column}
    columns = [name for name in rows[0][1] if name not in known and not names_patients(name)] if rows else []
    for name in config.classes or ("",):
        if name.strip().lower() not in columns:
            raise DataError(
                f"{path} has no column '{name}'" if name else f"{path} is multilabel, and no classes are stated",
                required=f"classes: the names of columns of labels, of {', '.join(columns) or '(none)'}",
                fix="state them as classes of the region",
            )
    cells = [[_cell(path, line, name, row) for name in config.classes or ()] for line, row in rows]
    return np.array(cells, dtype=np.int64).reshape(len(rows), -1), tuple(config.classes or ())


def _cell(path: Path, line: int, name: str, row: Mapping[str, str]) -> int:
    text = row[name.strip().lower()]
    if text.lower() in ("", "nan"):
        return UNCERTAIN
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value not in (POSITIVE, NEGATIVE, UNCERTAIN):
        raise DataError(
            f"{path}, line {line}: '{text}' for label '{name}'",
            required="1 (positive), 0 (negative), -1 or nothing (uncertain)",
            fix="correct the cell, or leave the label out of the region's classes",
        )
    return int(value)


def with_groups(source: Source, columns: Mapping[str, Sequence[str]], paths: list[Path]) -> Source:
    """Return a source with the groups that a column states, else those of DICOM headers, else each image its own."""
    stated = stated_groups(columns, source.names)
    if stated is not None:
        return replace(source, groups=stated.groups, grouped=stated.grouped, notices=stated.notices)
    found = patients_in_headers(paths)
    if found is None:
        return source
    groups = tuple(group or name for group, name in zip(found.groups, source.groups, strict=True))
    return replace(source, groups=groups, grouped=found.complete, identifying=True, notices=found.notices)


class Manifest(NamedTuple):
    """The rows of a table, each with its line, its image and the name that the table has for it."""

    rows: _Rows
    images: list[Path]
    names: tuple[str, ...]
    column: str


def read_manifest(path: Path, root: Path, required: Sequence[str] = (LABEL,)) -> Manifest:
    """Read a table of images.

    Args:
        path: A table with a header.
        root: Directory that its paths start at.
        required: Columns that are filled in every row.

    Raises:
        DataError: The file is missing, not text, without a required column or one of images, or has a ragged or empty
            row, or an image is missing.
    """
    table = read_table(path)
    column = require_path_column(table, root, str(path))
    _check_columns(path, table.columns, required)
    filled = (column, *required)
    for line, cells in table.rows:
        if not all(cells[name] for name in filled):
            raise DataError(
                f"{path}, line {line}: {' or '.join(filled)} is empty",
                required=f"one cell per column, {' and '.join(filled)} filled",
                fix="correct the line",
            )
    names = tuple(row[column] for _, row in table.rows)
    images = [locate(root, row[column], f"{path}, line {line}") for line, row in table.rows]
    return Manifest(list(table.rows), images, names, column)


def _check_columns(path: Path, columns: Sequence[str], required: Sequence[str]) -> None:
    for column in required:
        if column not in columns:
            several = " (several columns of labels: state task: multilabel and their names as classes)"
            raise DataError(
                f"{path} has columns {', '.join(columns) or '(none)'}, not '{column}'",
                required=f"a column '{column}', optionally group, split, id",
                fix=f"state the column of the label as `label` of the region{several if column == LABEL else ''}",
            )
