"""Accuracy against latency against size: every export of a region as a mark that leads to its card.

A mark is a link, so that it can be reached by keyboard and told by a screen reader; its shape tells whose network it
is, its area the bytes on disk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lorkit.export.svg import Plot, Scale, figure, path, tag

WIDTH, HEIGHT = 460.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 48.0, 16.0, 28.0, 42.0
_X = (LEFT, WIDTH - RIGHT)
_Y = (HEIGHT - BOTTOM, TOP)
_LETTER = 6.2
Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One export of a trade-off: whose, how slow, how good, how large, and where its card is.

    `label` tells it in full, `short` only by what the drawn exports differ in.
    """

    owner: str
    label: str
    short: str
    milliseconds: float
    accuracy: float
    ci: tuple[float, float] | None
    size_bytes: int
    href: str

    def beats(self, other: Point) -> bool:
        """Whether it is as good in accuracy, latency and size, and better in at least one of them."""
        mine = (self.accuracy, -self.milliseconds, -self.size_bytes)
        theirs = (other.accuracy, -other.milliseconds, -other.size_bytes)
        return mine != theirs and all(one >= two for one, two in zip(mine, theirs, strict=True))


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Axes that all trade-offs of a report share, so that regions can be compared by eye."""

    milliseconds: tuple[float, float]
    accuracy: tuple[float, float]
    size_bytes: int

    @classmethod
    def around(cls, points: Sequence[Point]) -> Frame:
        """Return axes that hold every point and its interval, with room for its area."""
        times = [point.milliseconds for point in points]
        lows = [point.ci[0] if point.ci else point.accuracy for point in points]
        bottom = math.floor((min(lows) - 0.02) * 10) / 10
        return cls(
            milliseconds=(min(times) / 1.6, max(times) * 1.6),
            accuracy=(max(0.0, min(bottom, 0.9)), 1.0),
            size_bytes=max(point.size_bytes for point in points),
        )


def trade_off(key: str, region: str, points: Sequence[Point], frame: Frame, measure: str) -> Markup:
    """Draw accuracy against latency; the area of a mark is its size on disk, the dashes are the front of the two.

    Args:
        key: Unique in the page.
        region: Whose exports they are.
        points: The exports.
        frame: Axes.
        measure: Name of the accuracy.
    """
    x, y = Scale(frame.milliseconds, _X, log=True), Scale(frame.accuracy, _Y)
    body = Plot(x, y, "median latency, ms (log)", measure).axes()
    front = pareto(points)
    if len(front) > 1:
        body.append(path([(x(point.milliseconds), y(point.accuracy)) for point in front], class_="front"))
    kept = undominated(points)
    largest_first = sorted(range(len(points)), key=lambda index: -points[index].size_bytes)
    body += [_mark(points[index], x, y, frame, measure, kept[index]) for index in largest_first]
    body += _names(points, x, y, frame)
    best = ", ".join(point.label for point, one in zip(points, kept, strict=True) if one)
    said = f"{len(points)} exports, each a link to its card. Not beaten in accuracy, latency and size at once: {best}."
    title = f"{region}: accuracy, latency and size"
    return figure(key, title, said, (WIDTH, HEIGHT), body, role="group")


def pareto(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats in both latency and accuracy, fastest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.milliseconds, -point.accuracy)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front


def undominated(points: Sequence[Point]) -> list[bool]:
    """Return for each point whether no other beats it in accuracy, latency and size at once."""
    return [not any(other.beats(point) for other in points) for point in points]


def _radius(point: Point, frame: Frame) -> float:
    return 5 + 17 * math.sqrt(point.size_bytes / max(1, frame.size_bytes))


def _mark(point: Point, x: Scale, y: Scale, frame: Frame, measure: str, kept: bool) -> Markup:
    at, level, radius = x(point.milliseconds), y(point.accuracy), _radius(point, frame)
    interval = f" [{point.ci[0]:.3f}, {point.ci[1]:.3f}]" if point.ci else ""
    lines = [
        point.label,
        f"{measure} {point.accuracy:.3f}{interval}",
        f"{point.milliseconds:.2f} ms median, {point.size_bytes / 1e6:.2f} MB",
        "on the front of accuracy, latency and size" if kept else "beaten in accuracy, latency and size at once",
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


def _names(points: Sequence[Point], x: Scale, y: Scale, frame: Frame) -> list[Markup]:
    """Write each export's name beside its mark, where it covers least of the marks and names already there."""
    centres = [(x(point.milliseconds), y(point.accuracy), _radius(point, frame)) for point in points]
    taken: list[Box] = [(at - r, level - r, at + r, level + r) for at, level, r in centres]
    taken.append((0.0, 0.0, 130.0, TOP))  # the title of the axis
    names = []
    for point, (at, level, r) in zip(points, centres, strict=True):
        wide = _LETTER * len(point.short)
        beside, below = (at + r, at - r - wide), (level + r, level - r)
        places = [(beside[0] + 3, level), (beside[1] - 3, level)]
        places += [(at - wide / 2, below[0] + 8), (at - wide / 2, below[1] - 8)]
        places += [(left, middle + step) for left in beside for middle in below for step in (0, 12, -12)]
        boxes = [(left, middle - 6, left + wide, middle + 6) for left, middle in places]
        best = min(boxes, key=lambda box: sum(_overlap(box, other) for other in taken) + _outside(box))
        taken.append(best)
        name = tag("text", point.short, x=best[0], y=best[1] + 9.5, class_=f"series {point.owner}", aria_hidden="true")
        names.append(name)
    return names


def _overlap(one: Box, two: Box) -> float:
    width = min(one[2], two[2]) - max(one[0], two[0])
    height = min(one[3], two[3]) - max(one[1], two[1])
    return max(0.0, width) * max(0.0, height)


def _outside(box: Box) -> float:
    """How much of a box lies beyond the plot, weighed above any overlap."""
    return 1e3 * (max(0.0, LEFT - box[0]) + max(0.0, box[2] - WIDTH) + max(0.0, -box[1]) + max(0.0, box[3] - _Y[0]))


def _shape(owner: str, x: float, y: float, kind: str) -> Markup:
    if owner == "foundation":
        return tag("rect", x=x - 4, y=y - 4, width=8.0, height=8.0, class_=f"{kind} {owner}")
    if owner == "student":
        corners = f"{x:.1f},{y - 5:.1f} {x + 5:.1f},{y + 4:.1f} {x - 5:.1f},{y + 4:.1f}"
        return tag("polygon", points=corners, class_=f"{kind} {owner}")
    return tag("circle", cx=x, cy=y, r=4.5, class_=f"{kind} {owner}")
