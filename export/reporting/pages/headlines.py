"""The headlines of a report: ranges over the regions in words, and the largest drop with its interval."""

from __future__ import annotations

from lorkit.decompose.documents.base import Interval
from lorkit.decompose.documents.gate import JudgedAccuracy
from lorkit.decompose.documents.heads import MIXTURES
from lorkit.decompose.documents.report import ReportDocument, Saving
from lorkit.decompose.errors import plural
from lorkit.export.noninferiority.explanation import in_words, interval_in_words
from lorkit.export.rendering.formatting import metric

_SAME = 0.005
_FACTOR = 1.5
_COSTS: tuple[tuple[Saving, str, str, str, str], ...] = (
    ("latency", "faster", "slower", "as fast", "latency"),
    ("size_bytes", "smaller", "larger", "as large", "size on disk"),
    ("macs", "fewer", "more", "as many", "multiply-accumulates"),
)


def headlines(document: ReportDocument) -> list[tuple[str, str]]:
    """Return headlines as a value and what it is of."""
    found = []
    for name, less, more, same, what in _COSTS:
        savings: Interval | None = document.summary[name]
        if savings is not None:
            found.append((_range_in_words(savings, less, more, same), what))
    return found + _largest_drop(document)


def ratio_in_words(saving: float, less: str, more: str, same: str) -> str:
    """Say baseline over expert: `2.1x faster`, `10 % faster`, `as fast`, `4 % slower`; the percentages are of cost."""
    change = 1.0 / saving - 1.0
    if abs(change) < _SAME:
        return same
    if saving >= _FACTOR:
        return f"{saving:.1f}\N{MULTIPLICATION SIGN} {less}"
    if saving <= 1 / _FACTOR:
        return f"{1 / saving:.1f}\N{MULTIPLICATION SIGN} {more}"
    return f"{100 * abs(change):.0f} % {less if change < 0 else more}"


def _range_in_words(savings: Interval, less: str, more: str, same: str) -> str:
    ends = list(dict.fromkeys(ratio_in_words(saving, less, more, same) for saving in savings))
    if len(ends) == 2 and all(end.endswith(f"\N{MULTIPLICATION SIGN} {less}") for end in ends):
        return f"{savings[0]:.1f} to {ends[1]}"
    if len(ends) == 2 and all(end.endswith(f"\N{MULTIPLICATION SIGN} {more}") for end in ends):
        return f"{1 / savings[1]:.1f} to {ends[0]}"
    return " to ".join(ends)


def _largest_drop(document: ReportDocument) -> list[tuple[str, str]]:
    """Return the largest drop (or the smallest gain) that the gate judged, unless its exports have changed since."""
    gate = document.gate
    judged = [
        (block.accuracy_test, name)
        for name, block in (gate.regions if gate else {}).items()
        if isinstance(block.accuracy_test, JudgedAccuracy) and not block.stale
    ]
    if not judged:
        return []
    accuracy, name = max(judged, key=lambda one: one[0].drop)
    change = in_words(accuracy.drop)
    if accuracy.identical is not None:
        spread = "0 by construction"
    else:
        spread = f"95 % interval: {interval_in_words(*accuracy.ci)}"
    most = "the smallest gain" if change.startswith("gains") else "the largest drop"
    regions = [name for _, name in judged if name not in MIXTURES]
    several = [name for _, name in judged if name in MIXTURES]  # networks of all regions are judged beside them
    compared = " and ".join(
        [*([plural(len(regions), "region")] if regions else []), *(f"the {one}" for one in several)]
    )
    which = "" if len(judged) == 1 else f", {most} of {compared}"
    return [(change, f"{metric(accuracy.metric)} of {name}{which} ({spread})")]
