"""Files of a comparison: a page, a Markdown table and a chart of accuracy against deployed cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from lorkit.decompose.documents.base import Interval
from lorkit.decompose.documents.compare import CompareDocument
from lorkit.export.rendering import svg
from lorkit.export.rendering.svg import Plot, Scale, tag
from lorkit.export.rendering.templates import environment
from lorkit.export.reporting.comparison.fractions import MethodPoint, fraction_curves, method_points, value_range
from lorkit.export.reporting.comparison.page import comparison_html

_TITLE = "Accuracy against deployed cost"


def comparison_files(document: CompareDocument) -> dict[str, str]:
    """Return the files of a `compare` document by suffix: `.html`, `.md`, `.svg`, `.fractions.svg` for several ones."""
    drawn, chart = fraction_curves(document), comparison_chart(document)
    pictures = [(_TITLE, chart), *([("Accuracy against the fraction of training groups", drawn)] if drawn else [])]
    found = {".html": comparison_html(document, pictures), ".md": comparison_markdown(document), ".svg": chart}
    return found | ({".fractions.svg": drawn} if drawn is not None else {})


def comparison_chart(document: CompareDocument) -> str:
    """Draw the mean of the metric against the MACs of one region's deployed network, at the largest fraction."""
    points = _points(document)
    if not points:
        return svg.sheet(_TITLE, "no metric is defined on this split", [])
    macs = [point.macs / 1e6 for point in points]
    x = Scale((min(macs) / 1.5, max(macs) * 1.5), svg.X, log=True)
    y = Scale(value_range(points, 0.06), svg.Y)
    title = "MACs of one deployed network, millions (log; equal costs side by side)"
    body = Plot(x, y, title, f"{document.metric_in_words}, {document.split} split").axes()
    places, gap = _spread([x(value) for value in macs]), svg.label_gap(len(points))
    heights = svg.spread_labels([y(point.value) for point in points], gap, svg.Y[::-1])
    for index in sorted(range(len(points)), key=lambda index: -points[index].value):
        body += _mark(points[index], index, places[index], y, (heights[index], gap))
    said = "; ".join(f"{one.label}: {one.macs / 1e6:.1f} million MACs, {one.value:.3f}" for one in points)
    return svg.sheet(_TITLE, said, [*body, *svg.watermark(document.synthetic, nodes=document.nodes)])


def comparison_markdown(document: CompareDocument) -> str:
    """Return the table of a `compare` document, and the differences of each two methods, as Markdown."""
    template = environment(Path(__file__).parent).get_template("comparison.md.jinja")
    return template.render(
        **dict(document),
        words=document.metric_in_words,
        nodes=document.nodes,
        mean_of=document.mean_of,
        number=_number,
        interval=_interval,
    )


def _points(document: CompareDocument) -> list[MethodPoint]:
    """Return the methods at the largest fraction, and the foundation."""
    fraction = max((row.fraction for row in document.table), default=1.0)
    points = [point for point in method_points(document) if point.fraction == fraction]
    teacher = document.foundation
    accuracy = None if teacher is None else teacher.value(document.metric)
    if teacher is None or teacher.macs is None or accuracy is None:  # the MACs of an ONNX file are not counted
        return points
    return [*points, MethodPoint("foundation", fraction, teacher.macs, accuracy, teacher.ci, foundation=True)]


def _spread(places: Sequence[float], gap: float = 9.0) -> list[float]:
    """Place points of equal cost side by side around their position, so that their intervals do not overlap.

    They are closer together if the chart is too narrow, and moved inside its edges.
    """
    left, right = svg.X
    groups: dict[int, list[int]] = defaultdict(list)
    for index, place in enumerate(places):
        groups[round(place)].append(index)
    moved = list(places)
    for members in groups.values():
        step = min(gap, (right - left) / len(members))
        half = step * (len(members) - 1) / 2
        centre = min(max(places[members[0]], left + half), right - half)
        for position, index in enumerate(members):
            moved[index] = centre + step * position - half
    return moved


def _mark(point: MethodPoint, index: int, at: float, y: Scale, place: tuple[float, float]) -> list[Markup]:
    level = y(point.value)
    colour = svg.FOUNDATION if point.foundation else svg.COLOURS[index % len(svg.COLOURS)]
    said = f"{point.label}: {point.value:.3f}, {point.macs:,} MACs"
    leader, name = svg.side_label((at, level), place, f"{svg.shorten(point.label)} {point.value:.3f}", colour)
    bars: list[Markup] = []
    if point.ci is not None:
        said += f", 95 % interval {point.ci[0]:.3f} to {point.ci[1]:.3f}"
        top, bottom = y(point.ci[1]), y(point.ci[0])
        ends = [(at, at, top, bottom), (at - 3, at + 3, top, top), (at - 3, at + 3, bottom, bottom)]
        bars = [tag("line", x1=x1, x2=x2, y1=y1, y2=y2, class_="bar", stroke=colour) for x1, x2, y1, y2 in ends]
    return [tag("g", tag("title", said), leader, *bars, _shape(point, index, at, level, colour), name)]


def _shape(point: MethodPoint, index: int, at: float, level: float, colour: str) -> Markup:
    """Return the mark of a point: each time that the colours repeat, methods have another shape."""
    shape = index // len(svg.COLOURS) % 3
    if point.foundation:
        return tag("rect", x=at - 4, y=level - 4, width=8.0, height=8.0, class_="solid", fill=colour)
    if shape == 1:
        return tag("circle", cx=at, cy=level, r=3.5, fill="#fff", stroke=colour, stroke_width=2)
    if shape == 2:
        turned = f"rotate(45 {at:.1f} {level:.1f})"
        box = {"x": at - 3.5, "y": level - 3.5, "width": 7.0, "height": 7.0}
        return tag("rect", **box, transform=turned, class_="solid", fill=colour)
    return tag("circle", cx=at, cy=level, r=4.5, class_="solid", fill=colour)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(value: float | None, ci: Interval | None) -> str:
    return _number(value) if value is None or ci is None else f"{value:.3f} [{ci[0]:.3f}, {ci[1]:.3f}]"
