"""Tables of pages that narrow windows show as cards: one line per cell, with the heading of its column.

A table has a class `fit-N`: from N rem it is shown as a table, in less as cards. N is estimated from the longest text
of each column. Frames of tables are containers (`container-type: inline-size`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

FITS = (14, 18, 22, 26, 28, 30, 32, 36, 40, 44, 48, 52, 56, 60, 64, 67, 70, 76, 84, 100)
"""Widths in rem at which tables may change."""
_TABLE = re.compile(r'<table(?: class="([^"]*)")?>(.*?)</table>', re.DOTALL)
_HEADINGS = re.compile(r"<thead>(.*?)</thead>", re.DOTALL)
_ROW = re.compile(r"(<tr[^>]*>)(.*?)(</tr>)", re.DOTALL)
_CELL = re.compile(r"<(t[hd])([^>]*)>(.*?)</t[hd]>", re.DOTALL)
_SPAN = re.compile(r'(row|col)span="(\d+)"')
_LINES = re.compile(r"<br>|<li>|</div>")
_TAG = re.compile(r"<svg.*?</svg>|<[^>]*>", re.DOTALL)
_ENTITY = re.compile(r"&#?\w+;")
_NO_CARDS = {"matrix", "sides"}
_LETTER, _BOLD, _HEADING, _SMALL, _PADDING, _BROKEN, _MOST, _RESERVE = 0.46, 0.55, 0.51, 0.385, 1.0, 8.0, 16.0, 2.0
"""In rem: letters of cells, of names of rows, of headings and of small text; what surrounds the text of a cell; where
it is broken if it may be, and always; a reserve of tables whose cells are not broken."""
_CARDS = """
T, T tbody, T tr, T th, T td, T caption { display: block; width: auto; max-width: none; min-width: 0; }
T thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
T tbody th, T tbody td, T tbody th.text, T tbody td.text {
  text-align: left; white-space: normal; overflow-wrap: anywhere; padding: .15rem 1rem; background: none;
}
T tbody th { padding-top: .6rem; font-size: .875rem; }
T tbody th.region { font-size: 1rem; }
T tbody tr > td:last-child { padding-bottom: .6rem; }
T tbody tr + tr { border-top: 1px solid var(--rule); }
T tbody td[data-label] { display: flow-root; padding-left: 46%; }
T tbody td[data-label]::before {
  content: attr(data-label); float: left; width: 80%; margin-left: -84%; color: var(--soft);
}
T tbody td small { white-space: normal; }
"""


def cards_css() -> str:
    """Return the styles of tables that are wider than their frame."""
    parts = []
    for fit in FITS:
        rules = re.sub(r"\bT\b", f"table.fit-{fit}", _CARDS.strip())
        parts.append(f"@media screen {{ @container (max-width: {fit - 0.01:g}rem) {{\n{rules}\n}} }}")
    return "\n".join(parts) + "\n"


def label_cells(html: str) -> str:
    """Give each cell of a page's tables the heading of its column, and each table the width that it needs.

    Args:
        html: A page of this package: cells are closed, texts are escaped, tables are not nested.
    """
    return _TABLE.sub(_labelled, html)


def _labelled(found: re.Match[str]) -> str:
    names, inner = found[1] or "", found[2]
    headings = _HEADINGS.search(inner)
    if headings is None or _NO_CARDS & set(names.split()):
        return found[0]
    columns = [_text(cell[3]) for cell in _CELL.finditer(headings[1])]
    widths = [max((len(word) for word in _counted(one).split()), default=0) * _HEADING for one in columns]
    start, unbroken = headings.end(), "facts" in names.split()
    body = _rows(inner[start:], columns, widths, _MOST if unbroken else _BROKEN)
    fit = _fit(_RESERVE * unbroken + sum(width + _PADDING for width in widths))
    return f'<table class="{f"{names} fit-{fit}".strip()}">{inner[:start]}{body}</table>'


def _rows(body: str, columns: list[str], widths: list[float], most: float) -> str:
    """Label the cells of rows, and widen `widths` to their texts."""
    covered: dict[int, int] = {}  # rows that cells of rows above still cover, by column

    def row(found: re.Match[str]) -> str:
        free = iter([at for at in range(len(columns)) if not covered.get(at)])
        for at in covered:
            covered[at] = max(0, covered[at] - 1)
        cells = _CELL.sub(_cell(free, columns, widths, covered, most), found[2])
        return f"{found[1]}{cells}{found[3]}"

    return _ROW.sub(row, body)


def _cell(
    free: Iterator[int], columns: list[str], widths: list[float], covered: dict[int, int], most: float
) -> Callable[[re.Match[str]], str]:
    def cell(found: re.Match[str]) -> str:
        kind, attributes, content = found.groups()
        spans = {name: int(count) for name, count in _SPAN.findall(attributes)}
        places = [at for _, at in zip(range(spans.get("col", 1)), free, strict=False)]
        if not places:
            return found[0]
        at = places[0]
        covered[at] = spans.get("row", 1) - 1
        if len(places) == 1:
            widths[at] = max(widths[at], _width(content, _BOLD if kind == "th" else _LETTER, most))
        label = columns[at].replace('"', "&#34;")
        said = f' data-label="{label}"' if kind == "td" and label and len(places) == 1 else ""
        return f"<{kind}{attributes}{said}>{content}</{kind}>"

    return cell


def _width(content: str, letter: float, most: float) -> float:
    main, *small = content.split("<small")
    lines = [(letter, line) for line in _LINES.split(main)]
    lines += [(_SMALL, line) for one in small for line in _LINES.split(f"<small{one}")]
    return max(_line_width(size, _counted(_text(line)), most) for size, line in lines)


def _line_width(letter: float, text: str, most: float) -> float:
    word = max((len(word) for word in text.split()), default=0)
    return min(_MOST, letter * max(word, min(len(text), most / letter)))


def _fit(width: float) -> int:
    return next((fit for fit in FITS if fit >= width), FITS[-1])


def _text(html: str) -> str:
    return " ".join(_TAG.sub("", html).split())


def _counted(text: str) -> str:
    """Return a text with one letter for each character that is escaped."""
    return _ENTITY.sub("x", text)
