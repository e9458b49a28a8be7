"""Tables as files: separators, text columns, times, and damage."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

polars = pytest.importorskip("polars", reason="the extra 'graph' is not installed")

from lorkit.decompose.data.graphs.table_files import columns_of, keys_of, open_table, texts_of  # noqa: E402
from lorkit.decompose.errors import DataError, MissingRuntimeError  # noqa: E402
from lorkit.export.serving.transactions import text_of  # noqa: E402


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_and_byte_order_marks(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"card{separator}sum\n007{separator}1.5\n{separator}\n", encoding="utf-8-sig")
    assert columns_of(path) == ("card", "sum")
    frame = open_table(path, ["card"])
    assert texts_of(frame["card"]) == ["007", None]
    assert frame["sum"].to_list() == [1.5, None]


def test_parquet_of_any_name(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    polars.DataFrame({"card": [1.0, None, 3.0], "rate": [0.5, 1.0, 2.0]}).write_parquet(path)
    assert columns_of(path) == ("card", "rate")
    frame = open_table(path, ["card"])
    assert texts_of(frame["card"]) == ["1", None, "3"]
    assert texts_of(frame["rate"]) == ["0.5", "1", "2"]


def test_numbers_are_the_texts_that_a_stream_has_for_them() -> None:
    cells = [7.0, 0.5, 1e20, 1e-7, float("inf"), float("nan"), None]
    shown = [text_of(cell) for cell in cells]
    shown[4] = "inf"  # a stream refuses it, and no other key has this name
    assert texts_of(polars.Series("card", cells)) == shown
    assert texts_of(polars.Series("card", [0.1, 3.0], dtype=polars.Float32)) == ["0.1", "3"]
    for numbers in ([7, 2**40], [True, False]):
        assert texts_of(polars.Series("card", numbers)) == [text_of(one) for one in numbers]


DIGITS = st.text("0123456789.- ex", min_size=1, max_size=6)


@given(st.lists(DIGITS | st.text(st.characters(codec="utf-8"), max_size=4), min_size=1, max_size=12))
def test_a_table_and_a_stream_have_one_text_for_a_cell(cells: list[str]) -> None:
    assert texts_of(polars.Series("card", cells)) == [text_of(cell) for cell in cells]


@given(st.integers(-(10**12), 10**12), st.integers(1, 3))
def test_a_whole_number_has_one_text_in_every_form(number: int, decimals: int) -> None:
    forms = [str(number), f"{number}.{'0' * decimals}", f" {number}.0 "]
    assert texts_of(polars.Series("card", forms)) == [str(number)] * 3
    assert {text_of(one) for one in (number, float(number), *forms)} == {str(number)}


def test_other_texts_stay_as_they_are() -> None:
    cells = ["007", "007.0", "7.50", "7.", ".0", "1.0.0", "v1.0", "1e3", "+7.0", "٧.0", "7.0a", "-", "00.0"]
    assert texts_of(polars.Series("card", cells)) == cells
    assert texts_of(polars.Series("card", ["-0.0", "0.0", "0"])) == ["0"] * 3
    assert texts_of(polars.Series("card", ["1" * 5000 + ".0"])) == ["1" * 5000]  # more digits than int() takes


def test_two_forms_of_whole_numbers_are_one_key_or_refused() -> None:
    cells = ["7", "12", None, "7.0", "12.0", "-3"]
    found, notices = keys_of(polars.Series("card", cells), where="t")
    assert (found, notices) == (["7", "12", None, "7", "12", "-3"], ("t: keys such as 7 and 7.0 are one",))
    for kept in (["7.0", "8.0"], ["7", "007"], ["1.0", "1.1", "2.0-beta"], ["a", "7.0"]):
        assert keys_of(polars.Series("card", kept), where="t")[1] == ()
    for other in ("007", "7.5", "v7", "7e3"):
        with pytest.raises(DataError, match=f"t: the keys '7' and '7.0' beside '{other}'; required: .*write 7 in"):
            keys_of(polars.Series("card", ["7", other, "7.0"]), where="t")


@pytest.mark.parametrize("cells", [[[1], [2]], [b"\xff\xfe", b"b"], [timedelta(seconds=1), None]])
def test_cells_that_are_no_texts_are_refused(cells: list[object]) -> None:
    with pytest.raises(DataError, match=r"the column 'card' of type .* holds no texts"):
        texts_of(polars.Series("card", cells))


@pytest.mark.parametrize(
    "content", [b"", b"a,b\n1,2\n1,2,3\n", b"a,b\n\xff\xfe,1\n", b"\xff\xfea\x00", b"PAR1broken", b'a,b\n"1,2\n']
)
def test_damaged_tables_are_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"t\.csv cannot be read") as caught:
        open_table(path, [])
    assert "\n" not in str(caught.value)


def test_missing_files_and_repeated_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file at"):
        columns_of(tmp_path / "none.csv")
    (tmp_path / "t.csv").write_text("a,a\n1,2\n")
    with pytest.raises(DataError, match="two columns 'a'"):
        columns_of(tmp_path / "t.csv")


def test_the_install_command_is_named_without_polars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(MissingRuntimeError, match=r"polars.*lorkit\[graph\]"):
        open_table(tmp_path / "t.csv", [])
