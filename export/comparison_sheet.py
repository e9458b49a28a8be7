"""What the drawings of a comparison share: their sheet, colours, and what is written on each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from lorkit.export.svg import figure, tag

WIDTH, HEIGHT = 640.0, 400.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 150.0, 34.0, 46.0
# Read by people who see colours differently, and in a file of its own: no style sheet of a page reaches it.
_STYLE = """
svg { background: #fff; font-family: Arial, "DejaVu Sans", sans-serif; font-size: 11px; }
text { stroke: none; } .tick { font-size: 10px; fill: #57606a; } .name { font-size: 11px; fill: #57606a; }
.axis { stroke: #57606a; } .grid { stroke: #e3e6ea; } .bar { stroke-width: 1.6; } .leader { stroke: #b6bec7; }
.solid { stroke: #fff; } .mark { font-size: 12px; fill: #b42318; }
"""
COLOURS = ("#0b62a8", "#b5480f", "#137a4b", "#7a3fa0", "#8a6d00", "#b3245f", "#00778a", "#555d66")
FOUNDATION = "#24292f"


def sheet(title: str, said: str, body: Sequence[Markup], *, height: float = HEIGHT) -> str:
    """Return a drawing as a file of its own."""
    style = tag("style", Markup(_STYLE))
    drawn = str(figure("comparison", title, said, (WIDTH, height), [style, *body]))
    # a file of its own needs the namespace that an inline drawing inherits
    return drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"


def judged(document: Mapping[str, Any]) -> str:
    """Name the part that judged."""
    return f"{document['split']} split"


def named(document: Mapping[str, Any]) -> str:
    """Name the metric in words."""
    return str(document["metric"]).replace("_", " ")


def watermark(document: Mapping[str, Any]) -> list[Markup]:
    """Return what marks a drawing of phantom results."""
    text = "SYNTHETIC: drawn phantoms, not patients"
    return (
        [tag("text", text, x=WIDTH - RIGHT, y=TOP - 8, class_="mark", text_anchor="end")]
        if document["synthetic"]
        else []
    )


def shorten(label: str, most: int = 17) -> str:
    """Cut a label to what fits beside the drawing."""
    return label if len(label) <= most else f"{label[: most - 3]}..."
