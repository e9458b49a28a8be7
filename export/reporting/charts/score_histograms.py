"""The scores of the cases of a class beside those of all others, as shares of each."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from lorkit.decompose.documents.scores import ScoreHistogram
from lorkit.export.rendering.svg import Plot, Scale, figure, path, tag

WIDTH, HEIGHT = 340.0, 250.0
_X, _Y = (44.0, WIDTH - 14.0), (HEIGHT - 40.0, 26.0)
_ROUND = (0.5, 0.1, 0.9, 0.01, 0.99, 0.2, 0.8, 0.05, 0.95, 0.3, 0.7, 0.4, 0.6, 0.02, 0.98, 0.001, 0.999, 0.0001, 0.9999)
"""Probabilities of ticks, the most important first."""
_APART = 30.0
OWN, OTHERS = "c1", "c7"
"""Colours of the class and of all others."""


def histogram(key: str, title: str, found: ScoreHistogram, threshold: float | None) -> Markup:
    """Draw two outlines over the probability, on a scale of log-odds, and the threshold as a dashed line.

    Args:
        key: Unique in the page.
        title: Name of the drawing.
        found: Counts by bin.
        threshold: Probability from which a case is of the class; None draws none.
    """
    edges = [_log_odds(edge) for edge in found.edges]
    shares = {OTHERS: _shares(found.negative), OWN: _shares(found.positive)}
    highest = max(max(values, default=0.0) for values in shares.values())
    if highest == 0.0:
        return Markup("")
    x, y = Scale((edges[0], edges[-1]), _X), Scale((0.0, 1.05 * highest), _Y)
    body = Plot(x, y, "probability", "share of the nodes of each kind", x_labels=_ticks(x)).axes()
    for colour, values in shares.items():
        body.append(path(_outline(edges, values, x, y), class_=f"area {colour}"))
    if threshold is not None and 0.0 < threshold < 1.0:
        at = x.clipped(_log_odds(threshold))
        body.append(tag("line", x1=at, x2=at, y1=_Y[0], y2=_Y[1], class_="limit"))
    said = f"{sum(found.positive)} of the class and {sum(found.negative)} others; threshold: "
    said += "none" if threshold is None else f"{threshold:.3f}"
    return figure(key, title, said, (WIDTH, HEIGHT), body)


def _ticks(x: Scale) -> dict[float, str]:
    """Return round probabilities within the axis, with room for their labels."""
    found: dict[float, str] = {}
    for tick in _ROUND:
        at = _log_odds(tick)
        if x.domain[0] <= at <= x.domain[1] and all(abs(x(at) - x(other)) >= _APART for other in found):
            found[at] = f"{tick:g}"
    return found


def _log_odds(share: float) -> float:
    return math.log(share / (1.0 - share))


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts)
    return [count / total for count in counts] if total else []


def _outline(edges: Sequence[float], values: Sequence[float], x: Scale, y: Scale) -> list[tuple[float, float]]:
    """Return the corners of the bars of a histogram, from the axis to the axis."""
    corners = [(x(edges[0]), y(0.0))]
    for low, high, value in zip(edges[:-1], edges[1:], values, strict=False):
        corners += [(x(low), y(value)), (x(high), y(value))]
    return [*corners, (x(edges[-1]), y(0.0))]
