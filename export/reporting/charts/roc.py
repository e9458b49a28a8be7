"""ROC curves of each class against the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from lorkit.decompose.documents.scores import ClassScores
from lorkit.export.rendering.svg import Plot, Scale, figure, path, tag

SIDE = 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 12.0, 26.0, 40.0


def shown_classes(rows: Sequence[ClassScores]) -> list[ClassScores]:
    """Return the classes that need a curve: one of two, since the other is its mirror image."""
    return list(rows[1:]) if len(rows) == 2 else list(rows)


def roc_curves(key: str, region: str, by_owner: Mapping[str, Sequence[ClassScores]]) -> Markup:
    """Draw the curves of classes or labels, the expert's solid, the foundation's thin and dashed.

    Those without a curve are omitted.
    """
    x, y = Scale((0.0, 1.0), (_LEFT, SIDE - _RIGHT)), Scale((0.0, 1.0), (SIDE - _BOTTOM, _TOP))
    body = Plot(x, y, "false positive rate", "true positive rate").axes()
    body.append(path([(x(0.0), y(0.0)), (x(1.0), y(1.0))], class_="front"))
    said = []
    for owner, rows in by_owner.items():
        for index, row in enumerate(rows):
            if row.roc is None:
                continue
            points = [(x(f), y(t)) for f, t in zip(row.roc.fpr, row.roc.tpr, strict=True)]
            body.append(path(points, class_=f"line roc {owner} c{index % 8} d{index % 4}"))
            said.append(f"{owner}, {row.class_name}: AUROC {row.auroc:.3f}")
    if not said:
        return Markup("")
    return figure(key, f"{region}: ROC", "; ".join(said), (SIDE, SIDE), body)


def swatch(index: int) -> Markup:
    """Return a short sample of a class's line, for a table."""
    line = tag("line", x1=1.0, x2=27.0, y1=5.0, y2=5.0, class_=f"line roc expert c{index % 8} d{index % 4}")
    return tag("svg", line, viewBox="0 0 28 10", width=28, height=10, class_="chart swatch", aria_hidden="true")
