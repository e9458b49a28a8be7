"""Chart of accuracy against the fraction of training groups, for comparisons of several fractions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from lorkit.decompose.documents.base import Interval
from lorkit.decompose.documents.compare import CompareDocument
from lorkit.export.rendering import svg
from lorkit.export.rendering.svg import Plot, Scale, path, tag

_DASHES = (None, "6 3", "2 3")


class MethodPoint(NamedTuple):
    """A method at one fraction: the MACs of its deployed network, and the mean of the metric with its interval."""

    label: str
    fraction: float
    macs: int
    value: float
    ci: Interval | None
    foundation: bool = False


def method_points(document: CompareDocument) -> list[MethodPoint]:
    """Return the rows of the table whose metric is defined."""
    found = [(row, row.value(document.metric)) for row in document.table]
    return [MethodPoint(row.label, row.fraction, row.macs, value, row.ci) for row, value in found if value is not None]


def value_range(points: Iterable[MethodPoint], room: float, *others: float) -> tuple[float, float]:
    """Return bounds that include all intervals and other values, with room as a share of their span."""
    values = [*others, *(bound for point in points for bound in (point.ci or (point.value,)))]
    extra = room * max(max(values) - min(values), 0.02)
    return min(values) - extra, max(values) + extra


def fraction_curves(document: CompareDocument) -> str | None:
    """Draw each method's mean over seeds with its interval over the fractions; None for a single fraction."""
    points = sorted(method_points(document), key=lambda point: point.fraction)
    if len({point.fraction for point in points}) < 2:
        return None
    methods: dict[str, list[MethodPoint]] = defaultdict(list)
    for point in points:
        methods[point.label].append(point)
    level = None if document.foundation is None else document.foundation.value(document.metric)
    x = Scale((points[0].fraction / 1.15, points[-1].fraction * 1.15), svg.X, log=True)
    y = Scale(value_range(points, 0.04, *([] if level is None else [level])), svg.Y)
    title = "share of the training groups (log)"
    body = Plot(x, y, title, f"{document.metric_in_words}, {document.split} split").axes()
    if level is not None:
        body += _level(level, x, y)
    gap = svg.label_gap(len(methods))
    heights = svg.spread_labels([y(line[-1].value) for line in methods.values()], gap, svg.Y[::-1])
    for index, (line, height) in enumerate(zip(methods.values(), heights, strict=True)):
        shift = 3.0 * (index - (len(methods) - 1) / 2)  # separates intervals of equal fractions
        body += _curve(line, index, shift, (x, y), (height, gap))
    said = "; ".join(f"{label}: {line[0].value:.3f} to {line[-1].value:.3f}" for label, line in methods.items())
    return svg.sheet(
        "Accuracy against the share of training groups",
        said,
        [*body, *svg.watermark(document.synthetic, nodes=document.nodes)],
    )


def _curve(
    points: Sequence[MethodPoint], index: int, shift: float, scales: tuple[Scale, Scale], place: tuple[float, float]
) -> list[Markup]:
    (x, y), label = scales, points[0].label
    colour, dash = svg.COLOURS[index % len(svg.COLOURS)], _DASHES[index // len(svg.COLOURS) % len(_DASHES)]
    line = [(x(point.fraction) + shift, y(point.value)) for point in points]
    parts: list[Markup] = [path(line, class_="bar", stroke=colour, stroke_dasharray=dash)]
    for point, (left, level) in zip(points, line, strict=True):
        if point.ci:
            low, high = (y(bound) for bound in point.ci)
            parts.append(tag("line", x1=left, x2=left, y1=low, y2=high, stroke=colour, stroke_width=1, opacity=0.5))
        parts.append(tag("circle", cx=left, cy=level, r=3, class_="solid", fill=colour))
    end = (line[-1][0] + 4, line[-1][1])
    parts += svg.side_label(end, place, f"{svg.shorten(label)} {points[-1].value:.3f}", colour)
    told = ", ".join(f"{point.fraction:g}: {point.value:.3f}" for point in points)
    return [tag("g", tag("title", f"{label}: {told}"), *parts)]


def _level(accuracy: float, x: Scale, y: Scale) -> list[Markup]:
    """Draw the foundation as a horizontal line, because it does not depend on the fraction."""
    (left, right), at = x.pixels, y(accuracy)
    text = f"foundation {accuracy:.3f}"
    return [
        path([(left, at), (right, at)], stroke=svg.FOUNDATION, stroke_dasharray="8 4"),
        tag("text", text, x=left + 4, y=at - 4, class_="tick", fill=svg.FOUNDATION),
    ]
