from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pytest

from lorkit.decompose.documents.scores import PositiveScores
from lorkit.decompose.metrics import node
from lorkit.export.reporting.charts.ranking import precision_recall_curves, recall_by_number


def scored(seed: int, *, nodes: int = 60) -> tuple[PositiveScores, np.ndarray, np.ndarray]:
    """A positive class with its labels and scores."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(nodes) < 0.3).astype(np.int64)
    margins = labels + rng.normal(size=nodes)
    found = node.scores(
        labels, np.stack([0 * margins, margins], 1), np.arange(nodes), classes=("no", "yes"), replicates=20
    )
    return PositiveScores.model_validate(found["labels"]["yes"]), labels, margins


def points(drawing: str, style: str) -> list[tuple[float, float]]:
    (line,) = [one for one in ElementTree.fromstring(drawing).iter("path") if style in one.attrib["class"]]
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", line.attrib["d"])]


def test_the_curve_has_the_precision_at_each_recall() -> None:
    row, labels, margins = scored(0)
    drawn = points(precision_recall_curves("k", "fraud", {"expert": {"yes": row}}), "expert")
    order = labels[np.argsort(-margins)]
    precision = np.cumsum(order) / np.arange(1, len(order) + 1)
    wanted = [
        (44 + 244 * (found + 1) / order.sum(), 260 - 234 * precision[at])
        for found, at in enumerate(np.flatnonzero(order))
    ]
    np.testing.assert_allclose(drawn, wanted, atol=0.11)


def test_recall_by_number_counts_the_nodes_looked_at() -> None:
    row, labels, margins = scored(1)
    drawing = recall_by_number("k", "fraud", {"expert": {"yes": row}})
    drawn = points(drawing, "expert")[:-1]  # the last point is all nodes
    places = np.flatnonzero(labels[np.argsort(-margins)]) + 1
    wanted = [(44 + 244 * np.log(k) / np.log(60), 260 - 234 * (at + 1) / len(places)) for at, k in enumerate(places)]
    np.testing.assert_allclose(drawn, wanted, atol=0.6)
    (dot,) = ElementTree.fromstring(drawing).iter("circle")
    found = (labels[np.argsort(-margins)][: row.k]).sum() / labels.sum()
    assert float(dot.attrib["cy"]) == pytest.approx(260 - 234 * found, abs=0.01)
    assert f"recall {found:.3f} among the first {row.k}" in drawing


@pytest.mark.parametrize("draw", [precision_recall_curves, recall_by_number])
def test_owners_differ_and_what_has_no_curve_is_left_out(draw: Any) -> None:
    rows = {"expert": {"yes": scored(0)[0]}, "foundation": {"yes": scored(1)[0]}}
    assert {one.attrib["class"].split()[2] for one in ElementTree.fromstring(draw("k", "fraud", rows)).iter("path")
            if "roc" in one.attrib["class"]} == {"expert", "foundation"}  # fmt: skip
    without = {"expert": {"yes": scored(0)[0].with_changes(pr=None)}}
    assert draw("k", "fraud", without) == ""
