"""Format numbers and names for the report; undefined values are a dash."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lorkit.decompose.metrics.names import METRICS

DASH = "\N{EN DASH}"
"""Dash for undefined values."""
_PNG = re.compile(r"iVBORw0KGgo[A-Za-z0-9+/]*={0,2}")
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def metric(name: str) -> str:
    """Return the name of a metric."""
    return METRICS.get(name, name.replace("_", " "))


def heading(name: str) -> str:
    """Return the short name of a metric for a narrow column."""
    short = metric(name).replace("accuracy", "acc.") if " " in metric(name) else metric(name)
    return short[:1].upper() + short[1:]


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with fixed digits and a real minus sign."""
    if value is None:
        return DASH
    rounded = round(value, digits) + 0.0  # no negative zero
    return f"{rounded:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def signed(value: float | None, digits: int = 3) -> str:
    """Return a number with its sign, also plus."""
    if value is None:
        return DASH
    rounded = round(value, digits) + 0.0  # no negative zero
    return f"{rounded:+.{digits}f}".replace("-", "\N{MINUS SIGN}") if rounded else number(0.0, digits)


def change(drop: float | None, digits: int = 3) -> str:
    """Return a drop as a change: candidate minus baseline."""
    return signed(None if drop is None else -drop, digits)


def change_span(bounds: Sequence[float] | None, digits: int = 3) -> str:
    """Return the interval of a drop as that of a change."""
    return "" if bounds is None else f"[{change(bounds[1], digits)}, {change(bounds[0], digits)}]"


def shown(value: object) -> str:
    """Return a value of unknown kind, such as a key of a later version."""
    if value is None:
        return DASH
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")
    if isinstance(value, Mapping):
        return ", ".join(f"{str(name).replace('_', ' ')} {shown(inner)}" for name, inner in value.items())
    if isinstance(value, Sequence):
        return ", ".join(shown(inner) for inner in value)
    return str(value)


def inline_png(value: object) -> str:
    """Return a base64 PNG as a data address; nothing else is accepted."""
    text = str(value or "").removeprefix("data:image/png;base64,")
    return f"data:image/png;base64,{text}" if _PNG.fullmatch(text) else ""


def span(bounds: Sequence[float] | None, digits: int = 3) -> str:
    """Return an interval."""
    return "" if bounds is None else f"[{number(bounds[0], digits)}, {number(bounds[1], digits)}]"


def percent(value: float | None) -> str:
    """Return a fraction as a percentage, with a decimal below ten per cent."""
    if value is None:
        return DASH
    digits = 0 if abs(value) >= 0.1 or value == round(value, 2) else 1
    return f"{100 * value:.{digits}f}\N{NARROW NO-BREAK SPACE}%".replace("-", "\N{MINUS SIGN}")


def count(value: float | None) -> str:
    """Return a count with three digits and a unit: 11.2 M."""
    if value is None:
        return DASH
    for size, unit in _UNITS:
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


def thousands(value: float | None) -> str:
    """Return a whole number with separators: 5,403."""
    return DASH if value is None else f"{value:,.0f}"


def size(value: float | None) -> str:
    """Return a number of bytes in decimal units: 44.7 MB."""
    if value is None:
        return DASH
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= unit:
            return f"{value / unit:.1f} {name}"
    return f"{value:.0f} B"


def moment(text: str) -> str:
    """Return an ISO time to the minute."""
    return datetime.datetime.fromisoformat(text).astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


# mentions are detected after entities are decoded, so a word joiner separates them
_MARKS = [("\\", "\\\\"), ("&", "&amp;"), ("#", "&#35;\u2060"), ("@", "&#64;\u2060"), ("<", "&lt;"), (">", "&gt;")]
_MARKS += [("://", ":&#47;&#47;"), ("www.", "www&#46;"), ("!", "&#33;\u2060")]
_MARKS += [(mark, f"\\{mark}") for mark in "|`*_[]~"]


def markdown(value: object) -> str:
    """Escape text for a Markdown cell: no markup, no link, no mention of a user."""
    text = " ".join(str(value).splitlines())  # also at single carriage returns
    for sign, safe in _MARKS:
        text = text.replace(sign, safe)
    return text


def code(value: object) -> str:
    """Return text between backticks."""
    return " ".join(str(value).replace("`", "'").splitlines())


def mark(verdict: str | None) -> str:
    """Return a verdict with a sign, for pages without colours."""
    signs = {
        "pass": "\N{WHITE HEAVY CHECK MARK}",
        "fail": "\N{CROSS MARK}",
        "inconclusive": "\N{WHITE QUESTION MARK ORNAMENT}",
    }
    return DASH if verdict is None else f"{signs.get(verdict, '')} {verdict.upper()}".strip()


_NAMED = (
    metric, heading, number, signed, change, change_span, shown, inline_png, span, percent, count, thousands, code,
    mark, moment,
)  # fmt: skip
FILTERS: dict[str, Callable[..., Any]] = {one.__name__: one for one in _NAMED} | {"bytes": size, "md": markdown}
"""The filters of templates by name."""
