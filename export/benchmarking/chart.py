"""Chart of a benchmark's latencies: one row per export and setting, with all samples, quartiles and the median."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from lorkit.decompose.documents.bench import BenchRow
from lorkit.export.rendering.svg import COLOURS, WIDTH, Scale, label, sheet, tag

_LEFT, _RIGHT, _TOP, _ROW, _FOOT = 230.0, 96.0, 40.0, 26.0, 44.0
_SHOWN = 150
"""Samples drawn per row; quartiles and median are of all."""


def latencies(rows: Sequence[BenchRow]) -> str:
    """Draw the rows of a bench document, fastest per image first within a region."""
    ordered = sorted(rows, key=lambda row: (row.region, row.median_ms / row.batch))
    spans = [np.percentile(row.samples_ms, (2, 98)) for row in ordered]
    low, high = min(span[0] for span in spans), max(span[1] for span in spans)
    height = _TOP + _ROW * len(ordered) + _FOOT
    x = Scale((low / 1.1, high * 1.1), (_LEFT, WIDTH - _RIGHT), log=True)
    targets = sorted({str(row.target) for row in ordered})
    body = _axis(x, height - _FOOT)
    for index, row in enumerate(ordered):
        colour = COLOURS[targets.index(str(row.target)) % len(COLOURS)]
        body += _row(row, x, _TOP + _ROW * (index + 0.5), colour)
    said = "; ".join(f"{_name(row)}: median {row.median_ms:.3g} ms" for row in ordered)
    return sheet("Latency by export", said, body, height=height)


def _row(row: BenchRow, x: Scale, at: float, colour: str) -> list[Markup]:
    samples = np.asarray(row.samples_ms, dtype=float)
    step = max(1, len(samples) // _SHOWN)
    first, middle, third = np.percentile(samples, (25, 50, 75))
    dots = [
        tag("circle", cx=x.clipped(value), cy=at + 6, r=1.4, fill=colour, opacity=0.25) for value in samples[::step]
    ]
    return [
        tag("text", _name(row), x=_LEFT - 10, y=at + 4, text_anchor="end"),
        tag(
            "g",
            tag("title", f"{_name(row)}: {len(samples)} samples, quartiles {first:.3g} and {third:.3g} ms"),
            *dots,
            tag("line", x1=x.clipped(first), x2=x.clipped(third), y1=at - 3, y2=at - 3, stroke=colour, stroke_width=5),
            tag("circle", cx=x.clipped(middle), cy=at - 3, r=4, fill=colour, class_="solid"),
        ),
        tag("text", f"{middle:.3g} ms", x=WIDTH - _RIGHT + 12, y=at + 2, fill=colour),
    ]


def _axis(x: Scale, bottom: float) -> list[Markup]:
    parts = [tag("text", "latency of one call, ms (log); bar: quartiles, dot: median", x=_LEFT, y=20, class_="name")]
    for value in x.ticks():
        parts.append(tag("line", x1=x(value), x2=x(value), y1=_TOP - 8, y2=bottom, class_="grid"))
        parts.append(tag("text", label(value), x=x(value), y=bottom + 16, class_="tick", text_anchor="middle"))
    return parts


def _name(row: BenchRow) -> str:
    threads = "" if row.threads in (None, 1) else f", {row.threads} threads"
    batch = "" if row.batch == 1 else f", batch {row.batch}"
    return f"{row.region} {row.owner}, {row.target} {row.precision}{batch}{threads}"
