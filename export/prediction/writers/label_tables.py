"""Tables of the values of masks, in the files that viewers read: ITK-SNAP's descriptions and 3D Slicer's colours."""

from __future__ import annotations

from collections.abc import Sequence

from lorkit.export.prediction.masks import colour
from lorkit.export.prediction.writers.base import MaskLabel

ITK_SNAP, SLICER = "labels.txt", "labels.ctbl"
_COLUMNS = "# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL"


def itk_snap(labels: Sequence[MaskLabel]) -> str:
    """Return a label description file: value, red, green, blue, opacity, two switches, and the name in quotes."""
    rows = ['    0     0    0    0        0  0  0    "background"']
    for label in labels:
        red, green, blue = colour(label.value)
        name = " ".join(label.name.replace('"', "'").split())
        rows.append(f'{label.value:5d} {red:5d}{green:5d}{blue:5d}        1  1  1    "{name}"')
    return "\n".join([_COLUMNS, *rows, ""])


def slicer(labels: Sequence[MaskLabel]) -> str:
    """Return a colour table: value, name without spaces, red, green, blue and opacity."""
    rows = ["0 background 0 0 0 0"]
    for label in labels:
        shade = " ".join(str(part) for part in colour(label.value))
        rows.append(f"{label.value} {'_'.join(label.name.split())} {shade} 255")
    return "\n".join(["# Color table file", f"# {len(rows)} values", *rows, ""])
