"""Tables of images: where their images are, and which columns label them, to draft a configuration."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lorkit.decompose.data.readers.csv_manifest import LABEL, SUFFIXES
from lorkit.decompose.data.readers.csv_paths import NAME, image_at, path_column
from lorkit.decompose.data.readers.csv_table import Table, local_path, read_table
from lorkit.decompose.data.readers.folder_layouts import folders_of
from lorkit.decompose.data.samples.patients import names_patients
from lorkit.decompose.data.samples.samples import known_part
from lorkit.decompose.errors import DataError

_LABELS = (
    LABEL, "labels", "class", "classes", "class_name", "classname", "category", "diagnosis", "dx", "target", "finding",
    "grade", "stage", "severity",
)  # fmt: skip
_NO_FINDINGS = {"sex", "gender", "male", "female", "split", "fold", "age", "smoker", "is_training", "train"}
_MOST_FOLDERS = 50
_MOST_BYTES = 32 * 1024 * 1024  # of a table of images; larger ones are of other things


@dataclass(frozen=True)
class FoundTable:
    """A table of images.

    Attributes:
        root: Directory that its paths start at, None if it is the table's own.
        listed: Folders of its images.
        label: Column of its labels, None if that is `label`.
        labels: Columns of 1, 0, -1 or nothing, of a table with several labels per image.
        problem: Why it cannot become a region.
    """

    root: Path | None = None
    listed: frozenset[Path] = frozenset()
    label: str | None = None
    labels: tuple[str, ...] = ()
    problem: str = ""


def find_table(path: Path, folders: Sequence[Path], *, label: str | None = None) -> FoundTable | None:
    """Return how a table lists images; None if it is none of images.

    Args:
        path: A file.
        folders: Beside it, that may hold its images.
        label: Column of the label, if the user names it.
    """
    if path.suffix.lower() not in SUFFIXES or path.stat().st_size > _MOST_BYTES:
        return None
    try:
        table = read_table(path)
    except DataError:
        return None
    own = path.parent
    first = sorted(folders, key=lambda folder: folder.name != path.stem)
    inner = [child for folder in first for child in islice(folders_of(folder), _MOST_FOLDERS)]
    problem = "" if table.rows or NAME not in table.columns else "lists no image"
    for root in (own, *first, *inner, own.parent):
        try:
            column = path_column(table, root, path.name)
        except DataError as error:
            problem = problem or f"{error.given}; {error.fix}"
            continue
        images = [_image(root, row[column]) for _, row in table.rows] if column else []
        missing = next((number for number, one in enumerate(images) if one is None), None)
        if column and images and missing is None:
            listed = frozenset(up for one in images if one for up in one.parents if up.is_relative_to(root.resolve()))
            return _labelled(table, column, label, FoundTable(None if root == own else root, listed))
        if column and missing is not None:
            problem = problem or f"lists '{table.rows[missing][1][column]}', which is not below it"
    return FoundTable(problem=problem) if problem else None


def _image(root: Path, cell: str) -> Path | None:
    """Return the image that a cell names; a table that names one outside its folder has another root, or none."""
    try:
        return image_at(root, cell, where="") if cell and ".." not in local_path(cell).parts else None
    except DataError:
        return None


def part_in_name(path: Path) -> str | None:
    """Return the part that a file is named after, such as `train` of `train_labels.csv`; None of several or none."""
    found = {part for word in re.split(r"[^a-z]+", path.stem.lower()) if (part := known_part(word))}
    return found.pop() if len(found) == 1 else None


def _labelled(table: Table, path: str, label: str | None, found: FoundTable) -> FoundTable:
    """Return a table of images with the columns of its labels."""
    if label is not None and label.strip().lower() not in table.columns:
        return FoundTable(problem=f"has no column '{label}' among {', '.join(table.columns)}")
    name = label.strip().lower() if label else next((one for one in _LABELS if one in table.columns), None)
    if name is not None:
        return FoundTable(found.root, found.listed, label=None if name == LABEL else name)
    labels = label_columns(table, path)
    if labels:
        return FoundTable(found.root, found.listed, labels=labels)
    others = ", ".join(one for one in table.columns if one and one != path) or "(none)"
    problem = f"lists images and no labels among {others}; name the column of the label with --label"
    return FoundTable(found.root, found.listed, problem=problem)


def label_columns(table: Table, path: str) -> tuple[str, ...]:
    """Return the columns with both answers, 1 and 0, that name no patient, sex or part."""
    skipped = {path, *_NO_FINDINGS}
    names = [name for name in table.columns if name and name not in skipped and not names_patients(name)]
    values = {name: {row[name].lower().removesuffix(".0") for _, row in table.rows} for name in names}
    return tuple(name for name, found in values.items() if {"0", "1"} <= found <= {"0", "1", "-1", "", "nan"})
