"""Tables: numbers, dashes for what is undefined, and lines that are not broken."""

from __future__ import annotations

import pytest

from lorkit.cli.output import streams, tables


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (True, "yes"), (1234567, "1,234,567"), (0.12345, "0.123"), (2.0, "2.000")]
)
def test_numbers(value: object, text: str) -> None:
    assert tables.number(value) == text


def test_intervals() -> None:
    assert tables.interval(0.5, [0.25, 0.75]) == "0.500 [0.250, 0.750]"
    assert tables.interval(0.5, None) == "0.500"
    assert tables.interval(None, [0, 1]) == "-"


def test_a_table_of_words_and_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    tables.table("title", ("name", "n"), [["a[b]", 5], ["mean", None]])
    lines = capsys.readouterr().out.splitlines()
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
    assert not [text for text in capsys.readouterr().out.splitlines() if text.strip().startswith("::")]


def test_words_between_colons_stay_words(capsys: pytest.CaptureFixture[str]) -> None:
    tables.line("phantom:brain: a leak")
    tables.table("data", ("region",), [["phantom:brain: 2"]])
    assert capsys.readouterr().out.count("phantom:brain: ") == 2


def test_tables_leave_stdout_to_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    with streams.results_only(document=True):
        tables.table("title", ("name",), [["a"]])
        tables.line("why")
        tables.notice("beside")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [text.strip() for text in captured.err.splitlines()] == ["title", "name", "a", "why", "beside"]


def test_tables_are_results(capsys: pytest.CaptureFixture[str]) -> None:
    with streams.results_only():
        tables.table("title", ("name",), [["a" * 150]])
        tables.line("why " * 100)
        tables.notice("beside")
    captured = capsys.readouterr()
    assert captured.err == "beside\n"
    assert captured.out.splitlines()[-2:] == ["a" * 150, "why " * 100], "nothing is wrapped off a terminal"
