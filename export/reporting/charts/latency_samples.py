"""The raw samples of a gate's latency: every pair over time, and their distribution.

Two strips of one height: the candidate relative to the baseline, and the baseline relative to itself. Each is centred
on its median and both have the same scale, so that their spreads can be compared: the second is the noise of the
machine.
"""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from lorkit.decompose.documents.measured import Timings
from lorkit.export.benchmarking.timing_statistics import fastest_of_neighbours
from lorkit.export.rendering.svg import Scale, figure, label, tag

WIDTH = 620.0
_LEFT, _TOP, _STRIP, _GAP, _FOOT = 46.0, 22.0, 96.0, 26.0, 34.0
_SIDE = 92.0
_X = (_LEFT, WIDTH - _SIDE - 14.0)
_DRAWN = 1500
_BINS = 32
_FEW = 300
_CUT = (2.0, 98.0)
"""Percentiles at the ends of the axes; values beyond are drawn at the edge."""


def latency_strips(key: str, region: str, samples: Timings, margin: float, cycles: int | None = None) -> Markup:
    """Draw the ratios of every pair, candidate and control, over time and as histograms.

    Args:
        key: Unique in the page.
        region: Name of the region.
        samples: Milliseconds in the order of measurement.
        margin: Allowed slow-down, a fraction.
        cycles: Cycles per pair, of which each engine's fastest counts; the candidate is then compared with both loads
            of the baseline. None in older gates: each cycle is a pair with the first load.
    """
    if len(samples.baseline) < (cycles or 1):
        return Markup("")
    rows = _ratios(samples, cycles)
    reach = 1.1 * max(1.0 + margin, *(_reach(ratios) for ratios in rows.values()))
    body: list[Markup] = []
    for index, (name, ratios) in enumerate(rows.items()):
        top = _TOP + index * (_STRIP + _GAP)
        middle = float(np.median(ratios))
        y = Scale((middle / reach, middle * reach), (top + _STRIP, top), log=True)
        body += _strip(name, ratios, y, 1.0 + margin)
    bottom = _TOP + 2 * _STRIP + _GAP
    pairs = len(rows["candidate"])
    body += _time_axis(pairs, bottom)
    said = "; ".join(f"{name} over baseline: {_quartiles(ratios)}" for name, ratios in rows.items())
    title = f"{region}: {pairs} pairs in the order they were taken"
    return figure(key, title, said, (WIDTH, bottom + _FOOT), body)


def _ratios(samples: Timings, cycles: int | None) -> dict[str, NDArray[np.float64]]:
    times_PA = np.array([samples.baseline, samples.candidate, samples.control]).T
    fastest_PA = fastest_of_neighbours(times_PA, cycles or 1)
    baseline, candidate, control = fastest_PA.T
    against = baseline if cycles is None else np.sqrt(baseline * control)  # the mean of both log-ratios
    return {"candidate": candidate / against, "control": control / baseline}


def _reach(ratios: NDArray[np.float64]) -> float:
    """Return the factor around the median that includes nearly all ratios."""
    low, high = np.percentile(ratios, _CUT) / np.median(ratios)
    return float(max(high, 1.0 / low))


def _strip(name: str, ratios: NDArray[np.float64], y: Scale, limit: float) -> list[Markup]:
    x = Scale((0.0, max(1.0, float(len(ratios) - 1))), _X)
    top, bottom = y.pixels[1], y.pixels[0]
    kind = "expert" if name == "candidate" else "foundation"
    inside = y.domain[0] <= limit <= y.domain[1]
    title = "baseline / baseline, the control"
    if name == "candidate":
        outside = f"the limit, {limit:.3f}, lies {'above' if limit > y.domain[1] else 'below'}"
        title = f"candidate / baseline; line: median; {'red dashes: limit' if inside else outside}"
    parts = [tag("text", title, x=_LEFT - 38, y=top - 8, class_="name")]
    narrow = y.domain[1] / y.domain[0] < 8  # too narrow for ticks at powers of ten
    for value in Scale(y.domain, y.pixels).ticks(3) if narrow else y.ticks():
        parts.append(tag("line", x1=_LEFT, x2=WIDTH - 10, y1=y(value), y2=y(value), class_="grid"))
        parts.append(tag("text", label(value), x=_LEFT - 6, y=y(value) + 3.5, class_="tick", text_anchor="end"))
    if name == "candidate" and inside:
        at = y(limit)
        parts.append(tag("line", x1=_LEFT, x2=WIDTH - 10, y1=at, y2=at, class_="limit"))
    step = -(-len(ratios) // _DRAWN)
    dots = " ".join(f"M{x(float(i)):.1f} {y.clipped(float(ratios[i])):.1f}h0" for i in range(0, len(ratios), step))
    parts.append(tag("path", d=dots, class_=f"dots {kind}" + (" few" if len(ratios) < _FEW else "")))
    middle = y.clipped(float(np.median(ratios)))
    parts.append(tag("line", x1=_LEFT, x2=WIDTH - 10, y1=middle, y2=middle, class_=f"median {kind}"))
    parts += _histogram(ratios, y, kind)
    return [*parts, tag("line", x1=_LEFT, x2=_X[1], y1=bottom, y2=bottom, class_="axis")]


def _histogram(ratios: NDArray[np.float64], y: Scale, kind: str) -> list[Markup]:
    edges = np.geomspace(y.domain[0], y.domain[1], _BINS + 1)
    counts, _ = np.histogram(np.clip(ratios, edges[0], edges[-1]), edges)
    left, reach = _X[1] + 12.0, _SIDE - 12.0
    return [
        tag(
            "rect",
            x=left,
            y=y(float(high)),
            width=float(reach * count / counts.max()),
            height=max(0.5, y(float(low)) - y(float(high)) - 0.5),
            class_=f"solid {kind}",
        )
        for count, low, high in zip(counts.tolist(), edges[:-1], edges[1:], strict=True)
        if count
    ]


def _time_axis(pairs: int, bottom: float) -> list[Markup]:
    x = Scale((0.0, max(1.0, float(pairs - 1))), _X)
    ticks = [tag("text", label(t), x=x(t), y=bottom + 14, class_="tick", text_anchor="middle") for t in x.ticks(6)]
    middle = (_X[0] + _X[1]) / 2
    note = "" if pairs <= _DRAWN else f" (one in {-(-pairs // _DRAWN)} is drawn)"
    return [
        *ticks,
        tag("text", f"pair{note}", x=middle, y=bottom + 28, class_="name", text_anchor="middle"),
        tag("text", "how often", x=_X[1] + 12.0, y=bottom + 14, class_="name"),
    ]


def _quartiles(ratios: NDArray[np.float64]) -> str:
    first, middle, third = np.percentile(ratios, (25, 50, 75))
    return f"median {middle:.3f}, quartiles {first:.3f} and {third:.3f}"
