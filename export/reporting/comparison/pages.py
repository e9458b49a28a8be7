"""Files of a comparison: a Markdown table and a chart of accuracy against deployed cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

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
    tag,
    watermark,
)
from lorkit.export.reporting.comparison.fractions import fraction_curves

_X, _Y = (LEFT, WIDTH - RIGHT), (HEIGHT - BOTTOM, TOP)
_LINE = 13.0
_NAMES = WIDTH - RIGHT + 12
_TITLE = "Accuracy against deployed cost"


@dataclass(frozen=True, kw_only=True)
class MethodPoint:
    """One method in the chart: its label, its deployed cost, and its accuracy."""

    label: str
    macs: int
    accuracy: float
    ci: tuple[float, float] | None
    colour: str
    round: int = 0
    """How often the colours have repeated before; each round has another mark."""


def comparison_files(document: CompareDocument) -> dict[str, str]:
    """Return the files of a `compare` document by suffix: `.md`, `.svg`, `.fractions.svg` for several fractions."""
    drawn = fraction_curves(document)
    found = {".md": comparison_markdown(document), ".svg": comparison_chart(document)}
    return found | ({".fractions.svg": drawn} if drawn is not None else {})


def comparison_chart(document: CompareDocument) -> str:
    """Draw the mean of the metric against the MACs of one region's deployed network, at the largest fraction."""
    points = _points(document)
    if not points:
        return sheet(_TITLE, "no metric is defined on this split", [])
    lows = [point.ci[0] if point.ci else point.accuracy for point in points]
    highs = [point.ci[1] if point.ci else point.accuracy for point in points]
    macs = [point.macs / 1e6 for point in points]
    x = Scale((min(macs) / 1.5, max(macs) * 1.5), _X, log=True)
    room = 0.06 * max(max(highs) - min(lows), 0.02)
    y = Scale((min(lows) - room, max(highs) + room), _Y)
    body = Plot(
        x,
        y,
        "MACs of one deployed network, millions (log; equal costs side by side)",
        f"{document.metric_in_words}, {document.split} split",
    ).axes()
    places = _spread([x(value) for value in macs])
    order = sorted(range(len(points)), key=lambda index: -points[index].accuracy)
    heights = _stack([y(points[index].accuracy) for index in order])
    for index, height in zip(order, heights, strict=True):
        body += _mark(points[index], places[index], y, (height, _line(len(points))))
    said = "; ".join(f"{one.label}: {one.macs / 1e6:.1f} million MACs, {one.accuracy:.3f}" for one in points)
    return sheet(_TITLE, said, [*body, *watermark(document.synthetic)])


def comparison_markdown(document: CompareDocument) -> str:
    """Return the table of a `compare` document, and the differences of each two methods, as Markdown."""
    seeds = sorted({row.seed for row in document.rows})
    lines = [f"# Comparison {document.id}", ""]
    if document.synthetic:
        lines += ["**SYNTHETIC: made from phantom images; not for any use on patients**", ""]
    lines += [
        f"{document.metric_in_words.capitalize()}, {document.split} split; mean over regions and seeds "
        f"({', '.join(map(str, seeds))}) with its 95 % interval over patients and seeds, sd over seeds. Parameters, "
        "MACs and bytes are those of one region's deployed network.",
        "",
    ]  # fmt: skip
    lines += _table(document)
    lines += ["", "Drop: baseline minus candidate on the same cases and seeds, mean over regions. "
              "Won and lost: regions whose own interval excludes zero.", ""]  # fmt: skip
    lines += _pairs(document)
    lines += ["", *(f"- {text}" for text in document.warnings)]
    return "\n".join(lines).rstrip() + "\n"


def _table(document: CompareDocument) -> list[str]:
    teacher = document.foundation
    regions = list(document.table[0].regions) if document.table else []
    heads = ["method", "fraction", "seeds", "mean", "sd", *regions, "parameters", "MACs", "bytes",
             "training parameters", "training MACs", "seconds"]  # fmt: skip
    costs = ("parameters", "macs", "deployed_bytes", "training_parameters", "training_macs")
    rows = [
        [
            row.label,
            f"{row.fraction:g}",
            str(row.seeds),
            _interval(row.value(document.metric), row.ci),
            _number(row.sd),
            *(_number(row.regions[name]) for name in regions),
            *(f"{getattr(row, key):,}" for key in costs),
            f"{row.train_seconds:,.1f}",
        ]
        for row in document.table
    ]
    if teacher is not None:
        scores = [_number(teacher.regions[name].value(document.metric)) for name in regions]
        mean = _interval(teacher.value(document.metric), teacher.ci)
        paid = ("-" if getattr(teacher, key) is None else f"{getattr(teacher, key):,}" for key in costs)
        rows.append(["foundation", "-", "-", mean, "-", *scores, *paid, "-"])
    return _grid(heads, rows)


def _pairs(document: CompareDocument) -> list[str]:
    rows = [
        [
            pair.baseline,
            pair.candidate,
            f"{pair.fraction:g}",
            str(len(pair.seeds)),
            _interval(pair.mean.drop, pair.mean.ci),
            str(pair.wins),
            str(pair.losses),
        ]
        for pair in document.pairs
    ]
    return _grid(["baseline", "candidate", "fraction", "seeds", "drop", "won", "lost"], rows)


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)]


def _points(document: CompareDocument) -> list[MethodPoint]:
    fraction = max((row.fraction for row in document.table), default=1.0)
    metric = document.metric
    points: list[MethodPoint] = []
    for row in document.table:
        value = row.value(metric)
        if row.fraction == fraction and value is not None:
            turn, at = divmod(len(points), len(COLOURS))
            colour = COLOURS[at]
            points.append(
                MethodPoint(label=row.label, macs=row.macs, accuracy=value, ci=row.ci, colour=colour, round=turn)
            )
    teacher = document.foundation
    accuracy = None if teacher is None else teacher.value(metric)
    if teacher is None or teacher.macs is None or accuracy is None:  # an ONNX file's MACs are not counted
        return points
    drawn = MethodPoint(label="foundation", macs=teacher.macs, accuracy=accuracy, ci=teacher.ci, colour=FOUNDATION)
    return [*points, drawn]


def _spread(places: Sequence[float], gap: float = 9.0) -> list[float]:
    """Place points of equal cost side by side, centred, so that their intervals do not overlap.

    Points that would leave the drawing are closer together, and those at its edge are moved inside.
    """
    groups: dict[int, list[int]] = {}
    for index, place in enumerate(places):
        groups.setdefault(round(place), []).append(index)
    moved = list(places)
    for members in groups.values():
        step = min(gap, (_X[1] - _X[0]) / len(members))
        half = step * (len(members) - 1) / 2
        centre = min(max(places[members[0]], _X[0] + half), _X[1] - half)
        for position, index in enumerate(members):
            moved[index] = centre + step * position - half
    return moved


def _stack(wanted: Sequence[float]) -> list[float]:
    """Return heights of the labels, top to bottom, a line apart (closer for many) and inside the drawing."""
    placed, floor, line = [], TOP, _line(len(wanted))
    for height in wanted:
        floor = max(height, floor)
        placed.append(floor)
        floor += line
    ceiling = HEIGHT - BOTTOM
    for index in reversed(range(len(placed))):
        placed[index] = ceiling = min(placed[index], ceiling)
        ceiling -= line
    return placed


def _line(labels: int) -> float:
    return min(_LINE, (HEIGHT - BOTTOM - TOP) / labels)


def _mark(point: MethodPoint, at: float, y: Scale, label: tuple[float, float]) -> list[Markup]:
    level, (label_at, line) = y(point.accuracy), label
    said = f"{point.label}: {point.accuracy:.3f}, {point.macs:,} MACs"
    parts: list[Markup] = [path([(at, level), (_NAMES - 4, label_at)], class_="leader", stroke_dasharray="1 3")]
    if point.ci is not None:
        said += f", 95 % interval {point.ci[0]:.3f} to {point.ci[1]:.3f}"
        top, bottom = y(point.ci[1]), y(point.ci[0])
        parts.append(tag("line", x1=at, x2=at, y1=top, y2=bottom, class_="bar", stroke=point.colour))
        for end in (top, bottom):
            parts.append(tag("line", x1=at - 3, x2=at + 3, y1=end, y2=end, class_="bar", stroke=point.colour))
    parts.append(_shape(point, at, level))
    said_short = f"{shorten(point.label)} {point.accuracy:.3f}"
    size = min(11.0, line)
    parts.append(tag("text", said_short, x=_NAMES, y=label_at + size / 3, font_size=size, fill=point.colour))
    return [tag("g", tag("title", said), *parts)]


def _shape(point: MethodPoint, at: float, level: float) -> Markup:
    if point.colour == FOUNDATION:
        return tag("rect", x=at - 4, y=level - 4, width=8.0, height=8.0, class_="solid", fill=point.colour)
    if point.round % 3 == 1:
        return tag("circle", cx=at, cy=level, r=3.5, fill="#fff", stroke=point.colour, stroke_width=2)
    if point.round % 3 == 2:
        box = {"x": at - 3.5, "y": level - 3.5, "width": 7.0, "height": 7.0}
        turned = f"rotate(45 {at:.1f} {level:.1f})"
        return tag("rect", **box, transform=turned, class_="solid", fill=point.colour)
    return tag("circle", cx=at, cy=level, r=4.5, class_="solid", fill=point.colour)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(value: float | None, ci: Sequence[float] | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f} [{ci[0]:.3f}, {ci[1]:.3f}]" if ci else f"{value:.3f}"
