"""The structures in masks: which numbers occur, and what they are called, to draft a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.data.formats import nifti as nifti_files
from lorkit.decompose.data.formats.npz import load_arrays, texts
from lorkit.decompose.data.readers import nifti
from lorkit.decompose.data.readers.csv_table import read_table
from lorkit.decompose.data.samples.annotations import without_background
from lorkit.decompose.data.samples.mask_labels import IGNORE, MaskLabels, whole_numbers
from lorkit.decompose.errors import DataError

_IDS, _NAMES = ("id", "label", "value", "index", "number"), ("name", "structure", "label_name", "organ")


def find_structures(path: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the names and numbers of all structures in the masks of a source, and what the user should know.

    Names come from the file or `dataset.json`, else from a table of ids and names beside the folders of a NIfTI
    source, else they are `label_5` for 5. Every mask is read.

    Args:
        path: An `.npz` with masks, or a folder of NIfTI pairs.

    Raises:
        DataError: A mask cannot be read, has values that are no whole numbers, or all are empty.
    """
    named, notes = _stated(path)
    found: set[int] = set()
    for mask, where in _masks(path):
        found |= {int(number) for number in np.unique(whole_numbers(mask, where))}
    numbers = sorted(found - {0})
    if not numbers:
        raise DataError(f"the masks of {path} are empty", required="a structure with a value from 1", fix="check them")
    names = _unique({number: named.get(number, f"label_{number}") for number in numbers})
    absent = [name for number, name in named.items() if number and number not in found and name.lower() != IGNORE]
    unnamed = [str(number) for number in numbers if number not in named]
    if absent:
        notes.append(f"in no mask, and left out: {', '.join(absent)}")
    if unnamed:
        notes.append(f"values of masks without a name: {', '.join(unnamed)}; rename their structures")
    return names, tuple(notes)


def _stated(path: Path) -> tuple[dict[int, str], list[str]]:
    """Return the names of numbers that a source states, and notes."""
    if path.is_file():
        names = without_background(texts(load_arrays(path).get("mask_names")) or ())
        return dict(enumerate(names, start=1)), []
    if not (path / nifti.DATASET).is_file():
        return _beside(path)
    try:
        labels = nifti.stated_labels(path / nifti.DATASET)
    except DataError as error:  # structures that overlap, or a damaged file: their numbers are in the masks
        return {}, [error.given]
    assert isinstance(labels, MaskLabels)
    ignored = {} if labels.ignored is None else {labels.ignored: IGNORE}
    return dict(zip(labels.ids, labels.names, strict=True)) | ignored, []


def _beside(folder: Path) -> tuple[dict[int, str], list[str]]:
    """Return the names that a table of ids and names in a folder states, and where they come from."""
    for path in sorted(folder.glob("*.[ct]sv")):
        try:
            table = read_table(path)
        except DataError:
            continue
        number = next((name for name in _IDS if name in table.columns), None)
        name = next((name for name in _NAMES if name in table.columns), None)
        if number is None or name is None:
            continue
        rows = [(row[number], row[name]) for _, row in table.rows]
        if rows and all(text.isdecimal() and value for text, value in rows):
            return {int(text): value for text, value in rows}, [f"names of structures from {path.name}"]
    return {}, []


def _masks(path: Path) -> Iterator[tuple[NDArray[np.generic], str]]:
    if path.is_file():
        masks = load_arrays(path)["masks"]
        yield masks, str(path)
        return
    for file in nifti.mask_files(path):
        yield nifti_files.read(file).values, str(file)


def _unique(names: Mapping[int, str]) -> dict[str, int]:
    """Return numbers by name; of a name that several have, the later ones get their number."""
    found: dict[str, int] = {}
    for number, name in names.items():
        found[name if name not in found else f"{name}_{number}"] = number
    return found
