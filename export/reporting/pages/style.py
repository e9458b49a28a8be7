"""What pages share: styles, the script, and a policy that allows only these.

The policy in the head of a page names both by digest and forbids all loading. So no element has a `style` attribute or
a handler, and data are escaped.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from markupsafe import Markup

from lorkit.export.prediction.masks import colour
from lorkit.export.rendering.tables import cards_css

_HERE = Path(__file__).parent
_SHADES = 20
_CHIPS = 7


def page_style() -> dict[str, str]:
    """Return `css`, `script` and `policy` for the head of a page."""
    css, script = _text("report.css") + cards_css() + _palette(), _text("report.js")
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (css, script)]
    policy = (
        f"default-src 'none'; style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    # files of this package, not data
    return {"css": Markup(css), "script": Markup(script), "policy": policy}


def shade(share: float) -> str:
    """Return the class of a cell of a matrix, by its share of the row."""
    return f"v{round(share * _SHADES)}"


def chip(structure: int) -> str:
    """Return the class of the colour of a structure, counted from 1."""
    return f"k{1 + (structure - 1) % _CHIPS}"


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _palette() -> str:
    shades = [f".matrix td.v{step} {{ --v: {step / _SHADES:g}; }}" for step in range(_SHADES + 1)]
    chips = [".chip.k{} {{ --chip: rgb({} {} {}); }}".format(at, *colour(at)) for at in range(1, _CHIPS + 1)]
    return "\n".join([*shades, *chips, ""])
