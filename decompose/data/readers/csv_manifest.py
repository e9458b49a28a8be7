"""Reader of CSV manifests of image files: columns `path` and `label`, optionally `group`, `split`, `id` and others.

Two data entries `[manifest.csv, images/]` are the manifest and the root of its paths; with one, the root is the
manifest's directory. Paths that lead out of the root are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.preprocessing.recipe import intensity_step
from lorkit.decompose.data.readers.csv_table import local_path, read_table
from lorkit.decompose.data.readers.dicom_patients import patients_in_headers
from lorkit.decompose.data.readers.image_files import FileImages, within
from lorkit.decompose.data.samples.patients import names_patients, stated_groups
from lorkit.decompose.data.samples.samples import encode, order_classes, part_name
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import DataError

_REQUIRED = ("path", "label")
_KNOWN = (*_REQUIRED, "split", "id")


def accepts(entries: list[str]) -> int:
    """Return the number of leading data entries that this reader takes: a `.csv`, and a directory after it."""
    if Path(entries[0]).suffix.lower() != ".csv":
        return 0
    return 2 if len(entries) > 1 and Path(entries[1]).is_dir() else 1


def read(entries: list[str], config: RegionConfig) -> Source:
    """Read a manifest; images are decoded on access.

    Raises:
        DataError: A column, label or file is missing, or a path leads out of the root.
    """
    path = Path(entries[0])
    root = Path(entries[1]) if len(entries) > 1 else path.parent
    rows = read_rows(path)
    paths = [_locate(root, row["path"], f"{path}, line {line}") for line, row in rows]
    labels = [row["label"] for _, row in rows]
    columns = {name: tuple(row.get(name, "") for _, row in rows) for name in rows[0][1]} if rows else {}
    classes = config.classes or order_classes(labels)
    source = Source(
        images=FileImages(paths, intensity_step(config)),
        labels=encode(labels, str(path), classes),
        classes=classes,
        ids=tuple(row.get("id") or row["path"] for _, row in rows),
        names=tuple(row["path"] for _, row in rows),
        groups=tuple(row["path"] for _, row in rows),
        parts=tuple(part_name(row.get("split") or "", f"{path}, line {line}") for line, row in rows),
        origin=str(path),
        columns={
            name: cells for name, cells in columns.items() if name and name not in _KNOWN and not names_patients(name)
        },
    )
    return _with_groups(source, columns, paths)


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


def read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return (line number, stripped cells by column) of a CSV with a header.

    Raises:
        DataError: The file is missing, not text, without the required columns, or has a ragged or empty row.
    """
    columns, rows = read_table(path)
    _check_columns(path, columns)
    for line, cells in rows:
        if not all(cells[column] for column in _REQUIRED):
            raise DataError(
                f"{path}, line {line}: path or label is empty",
                required="one cell per column, path and label filled",
                fix="correct the line",
            )
    return list(rows)


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    for column in _REQUIRED:
        if columns.count(column) != 1:
            raise DataError(
                f"{path} has columns {', '.join(columns) or '(none)'}",
                required="path and label once each, optionally group, split, id",
                fix=f"add or rename the column '{column}'",
            )


def _locate(root: Path, text: str, where: str) -> Path:
    path = within(root, root / local_path(text), where)
    if not path.exists():
        raise DataError(
            f"{where}: no image at {root / text}",
            required="an image file, or a folder of DICOM slices",
            fix="correct the path or the root",
        )
    return path
