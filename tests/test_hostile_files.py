"""Damaged and hostile files of every kind end in one line and exit code 2 or 4, or are read: nothing else.

A short, seeded version of what `benchmarks/torture.py` does with many more mutations.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from file_kinds import KINDS, FileKind
from hostile_files import Write, hostile_files
from mutations import mutations

from lorkit.decompose.errors import LorkitError

_COUNT = 13  # of each kind: every change of bytes once, and of text
_LARGE = ("bomb", "wide", "columns", "items")  # take seconds and GiB: only in benchmarks/torture.py
_READERS = {kind.name: kind for kind in KINDS}
_MADE = [pytest.param(kind, write, id=f"{kind}-{name}") for kind, name, write in hostile_files() if not
         any(word in name for word in _LARGE)]  # fmt: skip

pytestmark = pytest.mark.filterwarnings("default")


def refused(kind: FileKind, path: Path) -> str | None:
    """Read a file, and return the message if it is refused; any other exception fails the test."""
    found: LorkitError | None = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # of numpy: a result that nobody looked at
            kind.read(path)
    except LorkitError as error:
        found = error
    if found is None:
        return None
    assert found.exit_code in (2, 4), found
    assert len(str(found)) < 1500
    assert str(found).isprintable()
    return str(found)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_intact_files_are_read_and_changed_ones_are_read_or_refused(kind: FileKind, tmp_path: Path) -> None:
    kind.write(tmp_path)
    path = tmp_path / kind.file
    assert refused(kind, path) is None
    for _, data in mutations(path.read_bytes(), seed=23, count=_COUNT, text=kind.text):
        path.write_bytes(data)
        refused(kind, path)


@pytest.mark.parametrize(("kind", "write"), _MADE)
def test_hostile_files_are_read_or_refused(kind: str, write: Write, tmp_path: Path) -> None:
    refused(_READERS[kind], write(tmp_path))


_MUST = {
    "nifti-nan-sform", "nifti-huge", "nifti-gz-huge-seven", "npz-encrypted", "npz-huge", "npz-large", "npz-pickled",
    "tiff-huge", "png-huge", "dicom-huge", "dicom-frames", "yaml-digits", "yaml-deep", "yaml-keys",
    "yaml-laughs", "yaml-loop", "yaml-python", "decathlon-digits", "torch-sparse", "torch-meta", "torch-huge-expanded",
    "torch-encrypted", "torch-document-itself", "safetensors-huge", "graph-mat-huge", "png-link-to-itself",
    "yaml-link-to-itself", "safetensors-link-to-itself", "manifest-latin-1",
}  # fmt: skip


def test_the_worst_are_refused_and_named(tmp_path: Path) -> None:
    found = {}
    for at, (kind, name, write) in enumerate(hostile_files()):
        if f"{kind}-{name}" in _MUST:
            folder = tmp_path / str(at)
            folder.mkdir()
            path = write(folder)
            found[f"{kind}-{name}"] = (refused(_READERS[kind], path) or "", str(folder))
    assert set(found) == _MUST
    assert not [name for name, (message, folder) in found.items() if folder not in message]
