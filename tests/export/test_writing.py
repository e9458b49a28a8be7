import pytest

from lorkit.export.writing import count, markdown, moment, number, percent, size, span


@pytest.mark.parametrize("write", [number, percent, count, size])
def test_what_is_undefined_is_a_dash(write: object) -> None:
    assert callable(write)
    assert write(None) == "\N{EN DASH}"
    assert span(None) == ""


def test_numbers() -> None:
    assert number(-0.1234, 2) == "\N{MINUS SIGN}0.12"
    assert span([0.1, 0.25], 2) == "[0.10, 0.25]"
    assert [percent(value).replace("\N{NARROW NO-BREAK SPACE}", " ") for value in (0.03, 0.0345, 0.26)] == [
        "3 %",
        "3.5 %",
        "26 %",
    ]
    assert [count(value) for value in (999, 11_180_000, 1.82e9)] == ["999", "11.2 M", "1.82 G"]
    assert [size(value) for value in (12, 44_700_000, 2_000)] == ["12 B", "44.7 MB", "2.0 kB"]


def test_markdown_stays_text() -> None:
    assert markdown("a|b <i>`x`\ny") == "a\\|b &lt;i&gt;\\`x\\` y"


def test_times_are_utc_to_the_minute() -> None:
    assert moment("2026-01-02T03:04:59+02:00") == "2026-01-02 01:04 UTC"
