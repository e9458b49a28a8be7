"""Chart of accuracy against the fraction of training patients, for a comparison of several fractions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from lorkit.decompose.documents.base import Interval
from lorkit.decompose.documents.compare import CompareDocument
from lorkit.export.rendering.svg import (
    BOTTOM,
    COLOURS,
    FOUNDATION,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Plot,
    Scale,
    path,
    sheet,
    shorten,
    spread_labels,
    tag,
    watermark,
)

_NAMES = WIDTH - RIGHT + 12
_DASHES = (None, "6 3", "2 3")


class FractionPoint(NamedTuple):
    """A method at one fraction: the mean of the metric with its interval."""

    label: str
    fraction: float
    value: float
    ci: Interval | None


def fraction_curves(document: CompareDocument) -> str | None:
    """Draw each method's mean over seeds, with its interval, over the fractions; None for one fraction only."""
    metric = document.metric
    found = ((row, row.value(metric)) for row in document.table)
    rows = [FractionPoint(row.label, row.fraction, value, row.ci) for row, value in found if value is not None]
    fractions = sorted({row.fraction for row in rows})
    if len(fractions) < 2:
        return None
    curves: dict[str, list[FractionPoint]] = {}
    for row in sorted(rows, key=lambda row: row.fraction):
        curves.setdefault(row.label, []).append(row)
    level = None if document.foundation is None else document.foundation.value(metric)
    spans = [bound for row in rows for bound in (row.ci or [row.value])]
    if level is not None:
        spans.append(level)
    room = 0.04 * max(max(spans) - min(spans), 0.02)
    x = Scale((fractions[0] / 1.15, fractions[-1] * 1.15), (LEFT, WIDTH - RIGHT), log=True)
    y = Scale((min(spans) - room, max(spans) + room), (HEIGHT - BOTTOM, TOP))
    title = "share of the training patients (log)"
    body = Plot(x, y, title, f"{document.metric_in_words}, {document.split} split").axes()
    if level is not None:
        body += _level(level, x, y)
    ends = [y(points[-1].value) for points in curves.values()]
    gap = min(13.0, (HEIGHT - BOTTOM - TOP) / len(curves))
    names = spread_labels(ends, gap, (TOP, HEIGHT - BOTTOM))
    for index, (label, points) in enumerate(curves.items()):
        shift = 3.0 * (index - (len(curves) - 1) / 2)  # so that intervals of equal fractions do not overlap
        body += _curve(label, points, index, shift, (x, y), (names[index], min(11.0, gap)))
    said = "; ".join(f"{label}: {points[0].value:.3f} to {points[-1].value:.3f}" for label, points in curves.items())
    return sheet("Accuracy against the share of training patients", said, [*body, *watermark(document.synthetic)])


def _curve(
    label: str,
    points: Sequence[FractionPoint],
    index: int,
    shift: float,
    scales: tuple[Scale, Scale],
    name: tuple[float, float],
) -> list[Markup]:
    (x, y), (label_at, size) = scales, name
    turn, at = divmod(index, len(COLOURS))
    colour, dash = COLOURS[at], _DASHES[turn % len(_DASHES)]
    line = [(x(row.fraction) + shift, y(row.value)) for row in points]
    parts: list[Markup] = [path(line, class_="bar", stroke=colour, stroke_dasharray=dash)]
    for row, (left, level) in zip(points, line, strict=True):
        if row.ci:
            low, high = (y(bound) for bound in row.ci)
            parts.append(tag("line", x1=left, x2=left, y1=low, y2=high, stroke=colour, stroke_width=1, opacity=0.5))
        parts.append(tag("circle", cx=left, cy=level, r=3, class_="solid", fill=colour))
    end = line[-1]
    parts.append(path([(end[0] + 4, end[1]), (_NAMES - 4, label_at)], class_="leader", stroke_dasharray="1 3"))
    text = f"{shorten(label)} {points[-1].value:.3f}"
    parts.append(tag("text", text, x=_NAMES, y=label_at + size / 3, font_size=size, fill=colour))
    told = ", ".join(f"{row.fraction:g}: {row.value:.3f}" for row in points)
    return [tag("g", tag("title", f"{label}: {told}"), *parts)]


def _level(accuracy: float, x: Scale, y: Scale) -> list[Markup]:
    """Draw the foundation as a horizontal line: it does not depend on the fraction."""
    (left, right), at = x.pixels, y(accuracy)
    text = f"foundation {accuracy:.3f}"
    return [
        path([(left, at), (right, at)], stroke=FOUNDATION, stroke_dasharray="8 4"),
        tag("text", text, x=left + 4, y=at - 4, class_="tick", fill=FOUNDATION),
    ]
