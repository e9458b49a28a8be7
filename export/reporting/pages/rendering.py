"""Render a report's document as pages.

The page may run only its own script and styles: the policy in its head names both by digest and forbids all loading. So
no element has a `style` attribute or a handler, and data are escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from lorkit.export.prediction.masks import colour
from lorkit.export.rendering.formatting import metric
from lorkit.export.rendering.templates import environment
from lorkit.export.reporting.charts.roc import shown_classes, swatch
from lorkit.export.reporting.pages.drawings import anchors, draw, label_of

_HERE = Path(__file__).parent
"""Everything that decides how a page looks."""
_SHADES = 20
_CHIPS = 7


def render_html(document: Mapping[str, Any]) -> str:
    """Return a report's document as one HTML page with its styles, script and drawings inside."""
    css, script = _text("report.css") + _palette(), _text("report.js")
    return _environment(autoescape=True).get_template("report.html.jinja").render(
        **{"against": None, **document},
        css=Markup(css),  # files of this package, not data
        script=Markup(script),
        policy=_policy(css, script),
        tiles=_tiles(document["summary"], document["headline"]),
        by_region=_by_region(document["table"]),
        cards=_cards(document),
        anchors=anchors(document["table"]),
        drawings=draw(document),
    )  # fmt: skip


def render_markdown(document: Mapping[str, Any]) -> str:
    """Return a report's document as Markdown, for a comment on a pull request."""
    context = {"against": None, **document}
    return _environment(autoescape=False).get_template("report.md.jinja").render(**context)


def _environment(*, autoescape: bool) -> jinja2.Environment:
    found = environment(_HERE, autoescape=autoescape)
    found.globals.update(
        label_of=label_of, swatch=swatch, shown_classes=shown_classes, shade=_shade, chip=_chip, export_of=_export_of
    )
    return found


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _policy(css: str, script: str) -> str:
    """Return a policy that allows exactly these styles and this script, and images inside the page."""
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (css, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _palette() -> str:
    shades = [f".matrix td.v{step} {{ --v: {step / _SHADES:g}; }}" for step in range(_SHADES + 1)]
    chips = [".chip.k{} {{ --chip: rgb({} {} {}); }}".format(at, *colour(at)) for at in range(1, _CHIPS + 1)]
    return "\n".join([*shades, *chips, ""])


def _shade(share: float) -> str:
    return f"v{round(share * _SHADES)}" + (" hot" if share > 0.55 else "")


def _chip(structure: int) -> str:
    return f"k{1 + (structure - 1) % _CHIPS}"


def _tiles(summary: Mapping[str, float | None], headline: str) -> list[tuple[str, str]]:
    wanted = (
        ("latency", "lower latency"),
        ("size_bytes", "fewer bytes"),
        ("macs", "fewer multiply-accumulates"),
    )
    tiles = [
        (f"{value:.1f}\N{MULTIPLICATION SIGN}", what) for name, what in wanted if (value := summary[name]) is not None
    ]
    change = summary[f"{headline}_change"]
    return tiles + (
        [(f"{100 * change:+.1f} pt".replace("-", "\N{MINUS SIGN}"), metric(headline))] if change is not None else []
    )


def _by_region(table: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    rows: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in table:
        rows[row["region"]].append(row)
    return dict(rows)


def _cards(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the cards at the top of the page: each region with its verdict, its expert and its foundation."""
    gate = (document["gate"] or {}).get("regions", {})
    cards = []
    for region in document["regions"]:
        rows = [row for row in document["table"] if row["region"] == region["name"]]
        block = gate.get(region["name"])
        sides = {owner: [row for row in rows if row["owner"] == owner] for owner in ("foundation", "expert")}
        judged = {"foundation": (block or {}).get("baseline"), "expert": (block or {}).get("candidate")}
        shown = {owner: _judged(of, judged[owner]) for owner, of in sides.items()}
        exports = sum(1 for row in rows if row["digest"])
        cards.append({"region": region, "gate": block, **shown, "exports": exports})
    return cards


def _judged(rows: Sequence[Mapping[str, Any]], judged: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    digest = (judged or {}).get("digest")
    return next((row for row in rows if row["digest"] == digest), rows[0] if rows else None)


def _export_of(table: Sequence[Mapping[str, Any]], digest: str | None) -> Mapping[str, Any] | None:
    return next((row for row in table if row["digest"] is not None and row["digest"] == digest), None)
