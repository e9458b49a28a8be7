"""DICOM files of very many elements."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorkit.decompose.data.formats import dicom_elements
from lorkit.decompose.data.formats.dicom import read
from lorkit.decompose.errors import DataError


@pytest.mark.parametrize(
    "head", [b"", bytes(128) + b"DICM", bytes(128) + b"DICM\x02\x00\x00\x00UL\x04\x00\x00\x00\x00\x00"]
)
def test_a_file_of_zeros_is_refused_before_it_is_read(tmp_path: Path, head: bytes) -> None:
    """Each eight zeros would be an element: these bytes would take hours."""
    with (tmp_path / "a.dcm").open("wb") as stream:
        stream.write(head)
        stream.truncate(2**36)
    with pytest.raises(DataError, match=r"a\.dcm cannot be decoded \(ValueError: zeros in place of elements\)"):
        read(tmp_path / "a.dcm")


def test_a_file_of_very_many_elements_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_elements, "_MOST_PIECES", 1000)
    meta = b"\x02\x00\x10\x00UI\x00\x00"
    for data in (bytes(128) + b"DICM" + 2000 * meta, 2000 * b"\x08\x00\x08\x00CS\x00\x00"):
        (tmp_path / "a.dcm").write_bytes(data)
        with pytest.raises(DataError, match=r"cannot be decoded \(ValueError: too many elements\)"):
            read(tmp_path / "a.dcm")
