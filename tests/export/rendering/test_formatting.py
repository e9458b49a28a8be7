import pytest

from lorkit.export.rendering.formatting import (
    DASH,
    code,
    count,
    inline_png,
    mark,
    markdown,
    moment,
    number,
    percent,
    shown,
    signed,
    size,
    span,
)


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


def test_markdown_makes_no_link_and_calls_nobody() -> None:
    assert markdown("[x](y) @someone *b* _i_") == "\\[x\\](y) &#64;\u2060someone \\*b\\* \\_i\\_"
    assert markdown("https://x.org www.x.org #1 !2") == "https:&#47;&#47;x.org www&#46;x.org &#35;\u20601 &#33;\u20602"


def test_no_line_end_gets_out_of_its_cell() -> None:
    for end in ("\r", "\n", "\r\n", "\x0b", "\u2028"):
        assert markdown(f"a{end}/approve{end}b") == "a /approve b"
        assert code(f"a{end}`b") == "a 'b"


def test_changes_have_a_sign_and_no_negative_zero() -> None:
    assert signed(0.0123) == "+0.012"
    assert signed(-0.0123) == "\N{MINUS SIGN}0.012"
    assert signed(-0.0001) == "0.000"
    assert signed(None) == DASH


def test_keys_of_later_versions_can_be_written() -> None:
    assert shown({"p": 0.0123, "better": 3}) == "p 0.0123, better 3"
    assert shown([1, None]) == f"1, {DASH}"


def test_only_a_png_becomes_an_address() -> None:
    assert inline_png("iVBORw0KGgoAAAA=") == "data:image/png;base64,iVBORw0KGgoAAAA="
    for other in (None, "", "javascript:alert(1)", "https://x/y.png", 'iVBORw0KGgo" onerror=x'):
        assert inline_png(other) == ""


def test_verdicts_differ_by_more_than_colour() -> None:
    assert len({mark(verdict) for verdict in ("pass", "fail", "inconclusive", None)}) == 4
    assert mark("fail").endswith("FAIL")
