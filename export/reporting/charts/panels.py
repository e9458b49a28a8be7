"""Charts of the report as inline SVG: intervals, calibration and training curves.

Every function returns one self-contained drawing with a title and a description. Marks differ in shape and colour, and
lines are named at their ends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from lorkit.decompose.documents.scores import Reliability
from lorkit.export.rendering.svg import Plot, Scale, figure, path, spread_labels, tag

WIDTH, HEIGHT = 340.0, 216.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 14.0, 26.0, 40.0
_X = (LEFT, WIDTH - RIGHT)
_Y = (HEIGHT - BOTTOM, TOP)
_LABEL = 12.0
FEWEST = 5
"""Minimum number of cases of a drawn bin."""


def interval_chart(
    key: str,
    title: str,
    value: float,
    ci: tuple[float, float],
    *,
    limit: float,
    neutral: float,
    log: bool = False,
    noise: float | None = None,
) -> Markup:
    """Draw one interval against its limit: the neutral line, the limit, the noise band, the bar and the point."""
    width, height, middle = 300.0, 48.0, 16.0
    x = Scale(_reach(ci, limit, neutral, log), (8.0, width - 8.0), log)
    body: list[Markup] = []
    if noise is not None and noise > 0:
        low, high = x.clipped(neutral / (1 + noise)), x.clipped(neutral * (1 + noise))
        body.append(tag("rect", x=low, y=middle - 12, width=high - low, height=24.0, class_="noise"))
    body.append(tag("line", x1=8.0, x2=width - 8, y1=middle, y2=middle, class_="grid"))
    body.append(tag("line", x1=x(neutral), x2=x(neutral), y1=middle - 12, y2=middle + 12, class_="axis"))
    body.append(tag("line", x1=x(limit), x2=x(limit), y1=middle - 12, y2=middle + 12, class_="limit"))
    low, high = x.clipped(ci[0]), x.clipped(ci[1])
    body.append(tag("line", x1=low, x2=max(high, low + 2), y1=middle, y2=middle, class_="bar"))
    body.append(tag("circle", cx=x.clipped(value), cy=middle, r=4.5, class_="dot"))
    for tick in x.ticks(4):
        if 14 < x(tick) < width - 14:
            body.append(tag("text", f"{tick:g}", x=x(tick), y=42.0, class_="tick", text_anchor="middle"))
    said = f"{value:.3f}, interval {ci[0]:.3f} to {ci[1]:.3f}, limit {limit:.3f}"
    return figure(key, title, said, (width, height), body)


def calibration_chart(key: str, region: str, curves: Mapping[str, Reliability]) -> Markup:
    """Draw accuracy against confidence by bin, for each owner; the area of a mark is its number of cases."""
    side = 250.0
    x, y = Scale((0.0, 1.0), (LEFT, side - RIGHT)), Scale((0.0, 1.0), (side - BOTTOM, TOP))
    body = Plot(x, y, "confidence", "accuracy").axes()
    body.append(path([(x(0.0), y(0.0)), (x(1.0), y(1.0))], class_="front"))
    for owner, curve in curves.items():
        rows = zip(curve.confidences, curve.accuracies, curve.counts, strict=True)
        filled = [(x(c), y(a), n) for c, a, n in rows if n >= FEWEST and c is not None and a is not None]
        total = sum(n for _, _, n in filled) or 1
        body.append(path([(at, height) for at, height, _ in filled], class_=f"line {owner}"))
        for at, height, n in filled:
            radius = 1.5 + 7 * math.sqrt(n / total)
            body.append(tag("circle", cx=at, cy=height, r=radius, class_=f"area {owner}"))
    said = f"Accuracy by confidence for {', '.join(curves)}; on the diagonal, confidence equals accuracy."
    return figure(key, f"{region}: calibration", said, (side, side), body)


def curve_chart(
    key: str,
    title: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    y_title: str,
    colours: Mapping[str, int],
    bounds: tuple[float, float] | None = None,
) -> Markup:
    """Draw one line per series of points (epoch, value) over epochs, named at its end.

    Values that are not finite are omitted; `colours` are indices of the palette by name.
    """
    clean = {name: [(e, v) for e, v in points if math.isfinite(v)] for name, points in series.items()}
    clean = {name: points for name, points in clean.items() if points}
    flat = [value for points in clean.values() for _, value in points]
    epochs = [epoch for points in clean.values() for epoch, _ in points]
    if not flat:
        return Markup("")
    low, high = bounds or (min(0.0, *flat), max(flat) * 1.05 or 1.0)
    right = WIDTH - 14 - 7 * max(len(name) for name in clean)
    x = Scale((min(epochs), max(max(epochs), min(epochs) + 1)), (LEFT, right))
    y = Scale((low, high if high > low else low + 1), _Y)
    whole = x.domain[1] - x.domain[0] < 5
    body = Plot(x, y, "epoch", y_title, x_count=int(x.domain[1] - x.domain[0]) if whole else 5).axes()
    ends = spread_labels([y.clipped(points[-1][1]) for points in clean.values()], _LABEL, (TOP, HEIGHT - BOTTOM))
    for (name, points), end in zip(clean.items(), ends, strict=True):
        colour = f"c{colours.get(name, 0) % 8}"
        pixels = [(x(epoch), y.clipped(value)) for epoch, value in points]
        parts = [path(pixels, class_=f"line {colour}")]
        if len(points) == 1:
            parts.append(tag("circle", cx=pixels[0][0], cy=pixels[0][1], r=3.0, class_=f"area {colour}"))
        parts.append(tag("text", name, x=pixels[-1][0] + 6, y=end + 3.5, class_=f"series {colour}"))
        body.append(tag("g", *parts, data_series=colours.get(name, 0)))
    said = "; ".join(f"{name} ends at {points[-1][1]:.4g}" for name, points in clean.items())
    return figure(key, title, said, (WIDTH, HEIGHT), body)


def _reach(ci: tuple[float, float], limit: float, neutral: float, log: bool) -> tuple[float, float]:
    if log:  # very wide intervals are cut, so that the limit stays visible
        low, high = max(ci[0], min(neutral, limit) / 100), min(ci[1], max(neutral, limit) * 100)
        return min(low, neutral, limit) / 1.15, max(high, neutral, limit) * 1.15
    low, high = min(ci[0], neutral, limit), max(ci[1], neutral, limit)
    pad = 0.12 * (high - low)
    return low - pad, high + pad
