"""Tables: numbers, dashes for what is undefined, and lines that are not broken."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lorkit.cli.output import tables


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (True, "yes"), (1234567, "1,234,567"), (0.12345, "0.123"), (2.0, "2.000")]
)
def test_numbers(value: object, text: str) -> None:
    assert tables.number(value) == text


def test_intervals() -> None:
    assert tables.interval(0.5, [0.25, 0.75]) == "0.500 [0.250, 0.750]"
    assert tables.interval(0.5, None) == "0.500"
    assert tables.interval(None, [0, 1]) == "-"


def test_a_table_of_words_and_numbers() -> None:
    text = io.StringIO()
    tables.table("title", ("name", "n"), [["a[b]", 5], ["mean", None]], console=Console(file=text, width=40))
    lines = text.getvalue().splitlines()
    assert lines[0].strip() == "title"
    assert lines[2].startswith("a[b]"), "brackets in names are no markup"
    assert lines[3].split() == ["mean", "-"]


def test_warnings_stand_once_and_unbroken(capsys: pytest.CaptureFixture[str]) -> None:
    tables.warnings(["w" * 300, "w" * 300], synthetic=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "warning: " + "w" * 300
    assert lines[1].startswith("SYNTHETIC")


def test_text_of_data_begins_no_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "a\r\n::error::b\x85c"
    tables.line(f"said: {evil}")
    tables.table("t", ["x"], [[evil]])
    assert not [text for text in capsys.readouterr().err.splitlines() if text.strip().startswith("::")]


def test_words_between_colons_stay_words(capsys: pytest.CaptureFixture[str]) -> None:
    tables.line("phantom:brain: a leak")
    tables.table("data", ("region",), [["phantom:brain: 2"]])
    assert capsys.readouterr().err.count("phantom:brain: ") == 2
