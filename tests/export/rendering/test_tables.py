import re

import pytest

from lorkit.export.rendering.tables import FITS, cards_css, label_cells

HEAD = "<thead><tr><th>Region</th><th>Network</th><th>Size <b>&amp;</b> cost</th><th></th></tr></thead>"


def table(body: str, names: str = "") -> str:
    return f"<table{names}><caption>said</caption>{HEAD}<tbody>{body}</tbody></table>"


def labels(html: str) -> list[tuple[str, str]]:
    return re.findall(r'<td[^>]* data-label="([^"]*)">(.*?)</td>', html)


def fit(html: str) -> int:
    (found,) = re.findall(r'class="[^"]*\bfit-(\d+)"', html)
    return int(found)


def test_cells_have_the_heading_of_their_column_below_cells_of_several_rows() -> None:
    rows = '<tr><th rowspan="2">chest</th><th>expert</th><td>1</td><td>x</td></tr><tr><th>student</th><td>2</td></tr>'
    rows += "<tr><th>knee</th><td>own</td><td>3</td></tr>"
    found = label_cells(table(rows))
    assert labels(found) == [
        ("Size &amp; cost", "1"),
        ("Size &amp; cost", "2"),
        ("Network", "own"),
        ("Size &amp; cost", "3"),
    ]
    assert re.sub(r' data-label="[^"]*"| class="fit-\d+"', "", found) == table(rows), "nothing else changes"


def test_a_heading_that_is_drawn_has_the_name_that_is_said() -> None:
    drawn = "<svg><text>0.2</text></svg>"
    html = table("<tr><th>chest</th><td>1</td></tr>").replace("Network", f'<span class="unseen">Drawn</span>{drawn}')
    assert labels(label_cells(html)) == [("Drawn", "1")]


def test_a_cell_of_several_columns_has_no_heading() -> None:
    found = label_cells(table('<tr><th>chest</th><td colspan="2">refused</td><td>x</td></tr>'))
    assert labels(found) == []


def test_longer_texts_need_more_width_up_to_where_they_are_broken() -> None:
    widths = [fit(label_cells(table(f"<tr><th>{'x' * length}</th></tr>"))) for length in (5, 20, 40, 400)]
    assert widths[0] < widths[1] < widths[2] == widths[3]
    small, plain = (
        fit(label_cells(table(f"<tr><th>a</th><td>{cell}</td></tr>", ' class="facts"')))
        for cell in (f"1<small>{'9' * 24}</small>", "9" * 33)
    )
    assert small < plain
    escaped, bare = (fit(label_cells(table(f"<tr><th>{text}</th></tr>"))) for text in ("&amp;" * 12, "x" * 12))
    assert escaped == bare


@pytest.mark.parametrize("names", [' class="matrix"', ' class="sides"'])
def test_matrices_stay_as_they_are(names: str) -> None:
    html = table("<tr><th>a</th><td>1</td></tr>", names)
    assert label_cells(html) == html


def test_every_width_has_styles_that_hold_on_screens_only() -> None:
    css = cards_css()
    assert css.count("@media screen") == css.count("@container") == len(FITS)
    for width in FITS:
        assert f"table.fit-{width} tbody td" in css
    assert not re.search(r"\bT\b", css)
