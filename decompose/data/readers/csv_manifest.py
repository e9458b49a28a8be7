"""Reader of CSV manifests of image files: columns `path` and `label`, optionally `group`, `split`, `id` and others.

Two data entries `[manifest.csv, images/]` are the manifest and the root of its paths; with one, the root is the
manifest's directory. Paths that lead out of the root are refused.
"""

from __future__ import annotations

import csv
from pathlib import Path

from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.readers.image_files import FileImages, within
from lorkit.decompose.data.samples.samples import encode, order_classes, part_name
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import DataError

_REQUIRED = ("path", "label")
_KNOWN = (*_REQUIRED, "group", "split", "id")


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
    names = [row["label"] for _, row in rows]
    classes = config.classes or order_classes(names)
    return Source(
        images=FileImages(paths),
        labels=encode(names, str(path), classes),
        classes=classes,
        ids=tuple(row.get("id") or row["path"] for _, row in rows),
        groups=tuple(row.get("group") or row["path"] for _, row in rows),
        parts=tuple(part_name(row.get("split") or "", f"{path}, line {line}") for line, row in rows),
        origin=str(path),
        columns={
            name: tuple(row.get(name, "") for _, row in rows)
            for name in dict.fromkeys(name for _, row in rows for name in row)
            if name and name not in _KNOWN
        },
    )


def read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return (line number, stripped cells by column) of a CSV with a header.

    Raises:
        DataError: The file is missing, not text, without the required columns, or has a ragged or empty row.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            columns = [column.strip().lower() for column in reader.fieldnames or ()]
            _check_columns(path, columns)
            reader.fieldnames = columns
            return [(reader.line_num, _cells(path, reader.line_num, row)) for row in reader]
    except FileNotFoundError:
        raise DataError(f"no manifest at {path}", required="a CSV file", fix="check the path") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read ({error})", required="UTF-8 CSV", fix="save it again") from None


def _check_columns(path: Path, columns: list[str]) -> None:
    for column in _REQUIRED:
        if columns.count(column) != 1:
            raise DataError(
                f"{path} has columns {', '.join(columns) or '(none)'}",
                required="path and label once each, optionally group, split, id",
                fix=f"add or rename the column '{column}'",
            )


def _cells(path: Path, line: int, row: dict[str, str | None]) -> dict[str, str]:
    cells = {key: (value or "").strip() for key, value in row.items() if key is not None}
    if None in row or not all(cells[column] for column in _REQUIRED):
        raise DataError(
            f"{path}, line {line}: {'too many cells' if None in row else 'path or label is empty'}",
            required="one cell per column, path and label filled",
            fix="correct the line",
        )
    return cells


def _locate(root: Path, text: str, where: str) -> Path:
    path = within(root, root / text, where)
    if not path.is_file():
        raise DataError(
            f"{where}: no image at {root / text}", required="an image file", fix="correct the path or the root"
        )
    return path
