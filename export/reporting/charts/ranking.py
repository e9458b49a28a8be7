"""How well scores find the few positive cases: precision-recall curves, and recall by the number of cases looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from lorkit.decompose.documents.scores import PositiveScores
from lorkit.export.rendering.svg import Plot, Scale, figure, path, tag

SIDE = 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 12.0, 26.0, 40.0
_X, _Y = (_LEFT, SIDE - _RIGHT), (SIDE - _BOTTOM, _TOP)
_STEPS = 40
_HEIGHT = Scale((0.0, 1.0), _Y)

ByOwner = Mapping[str, Mapping[str, PositiveScores]]
"""Scores by owner and positive class, the expert's first."""


@dataclass(frozen=True)
class _Curve:
    """The curve of one positive class and owner."""

    owner: str
    name: str
    index: int
    row: PositiveScores
    recall: list[float]
    precision: list[float]

    @property
    def style(self) -> str:
        """Classes of its line: those of the ROC curves."""
        return f"line roc {self.owner} c{self.index % 8} d{self.index % 4}"


def precision_recall_curves(key: str, region: str, by_owner: ByOwner) -> Markup:
    """Draw the curves of positive classes, the expert's solid, the foundation's thin; dotted: scores without relation.

    Those without a curve are omitted.
    """
    curves, x, y = _curves(by_owner), Scale((0.0, 1.0), _X), _HEIGHT
    if not curves:
        return Markup("")
    body = Plot(x, y, "recall", "precision").axes()
    for name, row in next(iter(by_owner.values())).items():
        share = row.n_positive / max(1, row.n_positive + row.n_negative)
        body.append(path([(x(0.0), y(share)), (x(1.0), y(share))], class_="front"))
        del name
    said = []
    for one in curves:
        body.append(path([(x(r), y(p)) for r, p in zip(one.recall, one.precision, strict=True)], class_=one.style))
        said.append(f"{one.owner}, {one.name}: AP {one.row.ap:.3f}")
    return figure(key, f"{region}: precision and recall", "; ".join(said), (SIDE, SIDE), body)


def recall_by_number(key: str, region: str, by_owner: ByOwner) -> Markup:
    """Draw the recall among the k cases with the highest scores over k; a dot where k is the number of positive cases.

    The number follows from the precision-recall curve: of k cases, k times the precision are positive.
    """
    curves = _curves(by_owner)
    if not curves:
        return Markup("")
    total = max(one.row.n_positive + one.row.n_negative for one in curves)
    x, y = Scale((1.0, float(max(2, total))), _X, log=True), _HEIGHT
    body = Plot(x, y, "nodes with the highest scores (log)", "recall").axes()
    steps = [total ** (step / _STEPS) for step in range(_STEPS + 1)]
    body.append(path([(x(k), y(k / total)) for k in steps], class_="front"))
    said = []
    for one in curves:
        rows = [(r * one.row.n_positive / p, r) for r, p in zip(one.recall, one.precision, strict=True) if p > 0]
        whole = [*rows, (float(total), 1.0)] if rows and rows[-1][1] >= 1.0 else rows
        body.append(path([(x.clipped(k), y(recall)) for k, recall in whole], class_=one.style))
        if one.row.recall_at_k is not None:
            at = (x.clipped(float(one.row.k)), y(one.row.recall_at_k))
            body.append(tag("circle", cx=at[0], cy=at[1], r=3.5, class_=f"solid {one.owner} c{one.index % 8}"))
            said.append(f"{one.owner}, {one.name}: recall {one.row.recall_at_k:.3f} among the first {one.row.k}")
    return figure(key, f"{region}: recall at k", "; ".join(said), (SIDE, SIDE), body)


def _curves(by_owner: ByOwner) -> list[_Curve]:
    return [
        _Curve(owner, name, index, row, row.pr.recalls, row.pr.precisions)
        for owner, rows in by_owner.items()
        for index, (name, row) in enumerate(rows.items())
        if row.pr is not None and row.ap is not None
    ]
