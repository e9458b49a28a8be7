"""Accuracy against latency and size: every export of a region as a mark that links to its card.

Marks are links, accessible by keyboard and screen reader; the shape is the owner, the area the bytes on disk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lorkit.export.rendering.svg import Plot, Scale, figure, path, spread_labels, tag

WIDTH, HEIGHT = 520.0, 300.0
LEFT, TOP, BOTTOM = 48.0, 28.0, 42.0
_Y = (HEIGHT - BOTTOM, TOP)
_LINE, _LETTER = 13.0, 6.5


@dataclass(frozen=True, kw_only=True)
class ExportPoint:
    """One export of a trade-off: owner, latency, accuracy, size, and the location of its card.

    `label` is its full name, `short` only how it differs from the other exports.
    """

    owner: str
    label: str
    short: str
    milliseconds: float
    accuracy: float
    ci: tuple[float, float] | None
    size_bytes: int
    href: str

    def beats(self, other: ExportPoint) -> bool:
        """Return whether it is as good in accuracy, latency and size, and better in at least one of them."""
        mine = (self.accuracy, -self.milliseconds, -self.size_bytes)
        theirs = (other.accuracy, -other.milliseconds, -other.size_bytes)
        return mine != theirs and all(one >= two for one, two in zip(mine, theirs, strict=True))


def trade_off(
    key: str, region: str, points: Sequence[ExportPoint], every: Sequence[ExportPoint], measure: str
) -> Markup:
    """Draw accuracy against latency; the area of a mark is its size on disk, the dashes are the Pareto front.

    `key` is unique in the page; `measure` is the name of the accuracy. The exports of `every` region share latencies
    and areas for comparison; accuracies differ, since regions are easy or hard.
    """
    right = WIDTH - 16 - _LETTER * max(len(point.short) for point in points)
    times = [point.milliseconds for point in every]
    x = Scale((min(times) / 1.4, max(times) * 1.4), (LEFT, right), log=True)
    y, largest = Scale(_accuracies(points), _Y), max(point.size_bytes for point in every)
    body = Plot(x, y, "median latency, ms (log)", measure).axes()
    front = pareto(points)
    if len(front) > 1:
        body.append(path([(x(point.milliseconds), y(point.accuracy)) for point in front], class_="front"))
    kept = undominated(points)
    largest_first = sorted(range(len(points)), key=lambda index: -points[index].size_bytes)
    body += _names(points, x, y)
    body += [_mark(points[index], x, y, largest, measure, kept[index]) for index in largest_first]
    best = ", ".join(point.label for point, one in zip(points, kept, strict=True) if one)
    said = f"{len(points)} exports, each a link to its card. On the Pareto front of accuracy, latency and size: {best}."
    title = f"{region}: accuracy, latency and size"
    return figure(key, title, said, (WIDTH, HEIGHT), body, role="group")


def _accuracies(points: Sequence[ExportPoint]) -> tuple[float, float]:
    """Return bounds that include every interval; equal points still have an axis."""
    spans = [bound for point in points for bound in (point.ci or (point.accuracy,))]
    room = max(0.01, 0.08 * (max(spans) - min(spans)))
    return max(0.0, min(spans) - room), min(1.0, max(spans) + room)


def pareto(points: Sequence[ExportPoint]) -> list[ExportPoint]:
    """Return the points that no other beats in both latency and accuracy, fastest first."""
    front: list[ExportPoint] = []
    for point in sorted(points, key=lambda point: (point.milliseconds, -point.accuracy)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front


def undominated(points: Sequence[ExportPoint]) -> list[bool]:
    """Return for each point whether no other beats it in accuracy, latency and size at once."""
    return [not any(other.beats(point) for other in points) for point in points]


def _mark(point: ExportPoint, x: Scale, y: Scale, largest: int, measure: str, kept: bool) -> Markup:
    at, level = x(point.milliseconds), y(point.accuracy)
    radius = 4 + 14 * math.sqrt(point.size_bytes / max(1, largest))
    interval = f" [{point.ci[0]:.3f}, {point.ci[1]:.3f}]" if point.ci else ""
    lines = [
        point.label,
        f"{measure} {point.accuracy:.3f}{interval}",
        f"{point.milliseconds:.2f} ms median, {point.size_bytes / 1e6:.2f} MB",
        "on the Pareto front of accuracy, latency and size" if kept else "another export is better in all three",
    ]
    parts = [
        tag("title", "\n".join(lines)),
        tag("circle", cx=at, cy=level, r=radius + 3, class_="halo"),
        tag("circle", cx=at, cy=level, r=radius, class_=f"area {point.owner}"),
    ]
    if point.ci:
        top, bottom = y.clipped(point.ci[1]), y.clipped(point.ci[0])
        parts.append(tag("line", x1=at, x2=at, y1=top, y2=bottom, class_=f"whisker {point.owner}"))
    parts.append(_shape(point.owner, at, level, "solid" if kept else "hollow"))
    return tag("a", *parts, href=point.href, class_="mark", aria_label=", ".join(lines), data_tip="\n".join(lines))


def _names(points: Sequence[ExportPoint], x: Scale, y: Scale) -> list[Markup]:
    """Write the exports' names beside the plot, in the order of their marks, each with a line to its mark."""
    ranked = sorted(points, key=lambda point: (-point.accuracy, point.milliseconds))
    wanted = [y(point.accuracy) + 1e-3 * rank for rank, point in enumerate(ranked)]
    names, right = [], x.pixels[1]
    for point, height in zip(ranked, spread_labels(wanted, _LINE, _Y[::-1]), strict=True):
        start, series = (x(point.milliseconds), y(point.accuracy)), f"series {point.owner}"
        names.append(path([start, (right + 8, height)], class_=f"leader {point.owner}"))
        names.append(tag("text", point.short, x=right + 12, y=height + 3.5, class_=series, aria_hidden="true"))
    return names


def _shape(owner: str, x: float, y: float, kind: str) -> Markup:
    if owner == "foundation":
        return tag("rect", x=x - 4, y=y - 4, width=8.0, height=8.0, class_=f"{kind} {owner}")
    if owner == "student":
        corners = f"{x:.1f},{y - 5:.1f} {x + 5:.1f},{y + 4:.1f} {x - 5:.1f},{y + 4:.1f}"
        return tag("polygon", points=corners, class_=f"{kind} {owner}")
    return tag("circle", cx=x, cy=y, r=4.5, class_=f"{kind} {owner}")
