"""A table of numbers between 0 and 1 as coloured cells, with each number written in its cell."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from lorkit.export.rendering.svg import figure, shorten, tag

_CELL, _LEFT, _TOP, _BELOW = 40.0, 92.0, 6.0, 18.0
_MOST = 0.7
"""Opacity of a 1: the number must be legible on it."""


def heat_map(key: str, title: str, said: str, values: Mapping[str, Mapping[str, float]], *, note: str = "") -> Markup:
    """Draw one cell per row and column.

    Args:
        key: Unique in the page.
        title: Name of the drawing.
        said: Description for people who cannot see it.
        values: By row, then by column, in the order in which they are drawn; from 0 to 1, others are clipped.
        note: A line below the cells.
    """
    columns = list(next(iter(values.values()), {}))
    width, height = _LEFT + _CELL * len(columns) + 12, _TOP + _CELL * len(values) + 62
    body: list[Markup] = []
    for at, (row, cells) in enumerate(values.items()):
        top = _TOP + at * _CELL
        body.append(tag("text", shorten(row, 13), x=_LEFT - 8, y=top + _CELL / 2 + 4, class_="tick", text_anchor="end"))
        for place, name in enumerate(columns):
            body += _cell(_LEFT + place * _CELL, top, cells[name], f"{row}, {name}")
    under = _TOP + len(values) * _CELL + _BELOW
    for place, name in enumerate(columns):
        x = _LEFT + (place + 0.5) * _CELL
        turned = f"rotate(-30 {x:.1f} {under:.1f})"
        body.append(tag("text", shorten(name, 13), x=x, y=under, class_="tick", text_anchor="end", transform=turned))
    if note:
        body.append(tag("text", note, x=4.0, y=height - 4, class_="name"))
    return figure(key, title, said, (max(width, 250.0), height), body)


def _cell(x: float, y: float, value: float, what: str) -> list[Markup]:
    share = min(1.0, max(0.0, value))
    text = tag(
        "text",
        f"{value:.2f}",
        x=x + _CELL / 2,
        y=y + _CELL / 2 + 4,
        class_="heat-text",
        text_anchor="middle",
    )
    hint = tag("title", f"{what}: {value:.3f}")
    return [
        tag(
            "rect", hint, x=x, y=y, width=_CELL - 2, height=_CELL - 2, rx=3.0, class_="heat", fill_opacity=share * _MOST
        ),
        text,
    ]
