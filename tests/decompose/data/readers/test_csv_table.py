"""Tables as spreadsheets write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorkit.decompose.data.readers.csv_table import local_path, read_table
from lorkit.decompose.errors import DataError


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_is_read_whatever_program_wrote_it(tmp_path: Path, delimiter: str, mark: str, end: str) -> None:
    lines = [["Path", " Label "], ["a b.png", "x/y"], ["ü.png", '"1 2"'], []]
    text = mark + end.join(delimiter.join(cells) for cells in lines)
    (tmp_path / "a.csv").write_bytes(text.encode("utf-8"))
    found = read_table(tmp_path / "a.csv")
    assert found.columns == ("path", "label")
    assert found.rows == ((2, {"path": "a b.png", "label": "x/y"}), (3, {"path": "ü.png", "label": "1 2"}))


def test_missing_cells_are_empty(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,label,group\na.png,x\n", encoding="utf-8")
    assert read_table(tmp_path / "a.csv").rows == ((2, {"path": "a.png", "label": "x", "group": ""}),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,label\na,b,c\n", "line 2: too many cells"),
        (b"path,Path\na,b\n", "two columns 'path'"),
        (b"path,label\n\xff\xfe,b\n", "cannot be read"),
        (b'path,label\n"a,b\n', "cannot be read"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / "a.csv")
    with pytest.raises(DataError, match="no file at"):
        read_table(tmp_path / "none.csv")


@pytest.mark.parametrize("text", ["p1\\a.png", "p1/a.png"])
def test_backslashes_separate_folders(text: str) -> None:
    assert local_path(text) == Path("p1/a.png")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
@pytest.mark.parametrize("first", ["", "sep=;\r\n"])
def test_what_a_spreadsheet_writes_before_its_table_is_no_column(tmp_path: Path, encoding: str, first: str) -> None:
    (tmp_path / "a.csv").write_bytes((first + "path;label\r\nü.png;x\r\n").encode(encoding))
    found = read_table(tmp_path / "a.csv")
    assert found.columns == ("path", "label")
    assert found.rows == ((3 if first else 2, {"path": "ü.png", "label": "x"}),)


@pytest.mark.parametrize("title", ['"age, sex, site"', "age, sex, site"])
def test_a_title_with_commas_does_not_decide_the_delimiter(tmp_path: Path, title: str) -> None:
    (tmp_path / "a.csv").write_text(f"Path;label;{title}\na.png;x;1\n", encoding="utf-8")
    assert read_table(tmp_path / "a.csv").columns == ("path", "label", "age, sex, site")
