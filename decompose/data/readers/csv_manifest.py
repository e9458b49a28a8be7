"""Reader of CSV manifests of image files: columns `path` and `label`, optionally `group`, `split`, `id` and others.

With `task: multilabel`, the columns named by the region's `classes` are its labels instead of `label`: 1, 0, or -1 or
empty for uncertain.

Two data entries `[manifest.csv, images/]` are the manifest and the root of its paths; with one, the root is the
manifest's directory. Paths that lead out of the root are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.preprocessing.recipe import intensity_step
from lorkit.decompose.data.readers.csv_table import local_path, read_table
from lorkit.decompose.data.readers.dicom_patients import patients_in_headers
from lorkit.decompose.data.readers.image_files import FileImages, within
from lorkit.decompose.data.samples.label_table import MULTILABEL, NEGATIVE, POSITIVE, UNCERTAIN
from lorkit.decompose.data.samples.open_files import OpenFiles
from lorkit.decompose.data.samples.patients import names_patients, stated_groups
from lorkit.decompose.data.samples.samples import encode, order_classes, part_name
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import DataError

_REQUIRED = ("path", "label")
_KNOWN = (*_REQUIRED, "split", "id")
_Rows = list[tuple[int, dict[str, str]]]


def accepts(entries: list[str]) -> int:
    """Return the number of leading data entries that this reader takes: a `.csv`, and a directory after it."""
    if Path(entries[0]).suffix.lower() != ".csv":
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
    rows = read_rows(path, ("path",) if many else _REQUIRED)
    paths = [locate(root, row["path"], f"{path}, line {line}") for line, row in rows]
    columns = {name: tuple(row.get(name, "") for _, row in rows) for name in rows[0][1]} if rows else {}
    labels, classes = _label_columns(path, rows, config) if many else _label_column(path, rows, config)
    known = {*_KNOWN, *(name.strip().lower() for name in classes if many)}
    source = Source(
        images=FileImages(paths, intensity_step(config), files),
        labels=labels,
        classes=classes,
        ids=tuple(row.get("id") or row["path"] for _, row in rows),
        names=tuple(row["path"] for _, row in rows),
        groups=tuple(row["path"] for _, row in rows),
        parts=tuple(part_name(row.get("split") or "", f"{path}, line {line}") for line, row in rows),
        origin=str(path),
        columns={
            name: cells for name, cells in columns.items() if name and name not in known and not names_patients(name)
        },
    )
    return _with_groups(source, columns, paths)


def _label_column(path: Path, rows: _Rows, config: RegionConfig) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    names = [row["label"] for _, row in rows]
    classes = config.classes or order_classes(names)
    return encode(names, str(path), classes), classes


def _label_columns(path: Path, rows: _Rows, config: RegionConfig) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the table of the columns that the region's classes name."""
    columns = [name for name in rows[0][1] if name not in _KNOWN and not names_patients(name)] if rows else []
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


def _with_groups(source: Source, columns: Mapping[str, Sequence[str]], paths: list[Path]) -> Source:
    """Return a source with the groups that a column states, else those of DICOM headers, else each image its own."""
    stated = stated_groups(columns, source.names)
    if stated is not None:
        return replace(source, groups=stated.groups, grouped=stated.grouped, notices=stated.notices)
    found = patients_in_headers(paths)
    if found is None:
        return source
    groups = tuple(group or name for group, name in zip(found.groups, source.groups, strict=True))
    return replace(source, groups=groups, grouped=found.complete, identifying=True, notices=found.notices)


def read_rows(path: Path, required: Sequence[str] = _REQUIRED) -> _Rows:
    """Return (line number, stripped cells by column) of a CSV with a header; the required columns are filled.

    Raises:
        DataError: The file is missing, not text, without the required columns, or has a ragged or empty row.
    """
    columns, rows = read_table(path)
    _check_columns(path, columns, required)
    for line, cells in rows:
        if not all(cells[column] for column in required):
            raise DataError(
                f"{path}, line {line}: {' or '.join(required)} is empty",
                required=f"one cell per column, {' and '.join(required)} filled",
                fix="correct the line",
            )
    return list(rows)


def _check_columns(path: Path, columns: Sequence[str], required: Sequence[str]) -> None:
    for column in required:
        if columns.count(column) != 1:
            several = " (several columns of labels: state task: multilabel and their names as classes)"
            raise DataError(
                f"{path} has columns {', '.join(columns) or '(none)'}",
                required="path and label once each, optionally group, split, id",
                fix=f"add or rename the column '{column}'{several if column == 'label' else ''}",
            )


def locate(root: Path, text: str, where: str) -> Path:
    """Return the image that a row names, below the root; raise DataError if there is none."""
    path = within(root, root / local_path(text), where)
    if not path.exists():
        raise DataError(
            f"{where}: no image at {root / text}",
            required="an image file, or a folder of DICOM slices",
            fix="correct the path or the root",
        )
    return path
