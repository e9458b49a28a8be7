from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from lorkit.decompose.documents.scores import ScoreHistogram
from lorkit.export.reporting.charts.score_histograms import OTHERS, OWN, histogram

FOUND = ScoreHistogram(edges=[0.1, 0.5, 0.9], positive=[1, 3], negative=[8, 0])


def heights(drawing: str, style: str) -> list[float]:
    (line,) = [one for one in ElementTree.fromstring(drawing).iter("path") if style in one.attrib["class"]]
    return [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", line.attrib["d"])]


def test_each_kind_is_drawn_as_shares_of_itself() -> None:
    drawing = histogram("k", "scores", FOUND, 0.5)
    base, top = 210.0, 26.0
    per_share = (base - top) / 1.05  # the highest share is 1, of the others
    own = [base - per_share * share for share in (0.25, 0.25, 0.75, 0.75)]
    assert heights(drawing, OWN) == pytest.approx([base, *own, base], abs=0.06)
    assert heights(drawing, OTHERS)[1] == pytest.approx(base - per_share, abs=0.06)
    assert "4 of the class and 8 others; threshold: 0.500" in drawing


@pytest.mark.parametrize(("threshold", "lines"), [(0.5, 1), (None, 0), (1.0, 0)])
def test_the_threshold_is_a_line_in_the_middle(threshold: float | None, lines: int) -> None:
    drawn = ElementTree.fromstring(histogram("k", "scores", FOUND, threshold))
    limits = [one for one in drawn.iter("line") if one.attrib["class"] == "limit"]
    assert len(limits) == lines
    assert all(float(one.attrib["x1"]) == pytest.approx((44 + 326) / 2) for one in limits)  # log-odds 0


@pytest.mark.parametrize(
    ("low", "high", "few"), [(0.02, 0.4, {"0.1"}), (0.3, 0.45, {"0.4"}), (0.0001, 0.9999, {"0.01", "0.5", "0.99"})]
)
def test_ticks_are_round_and_apart(low: float, high: float, few: set[str]) -> None:
    drawn = ElementTree.fromstring(
        histogram("k", "scores", FOUND.with_changes(edges=[low, (low + high) / 2, high]), None)
    )
    ticks = {float(one.attrib["x"]): str(one.text) for one in drawn.iter("text") if one.attrib["y"] == "225"}
    assert few <= set(ticks.values())
    assert all(two - one >= 30 for one, two in zip(sorted(ticks), sorted(ticks)[1:], strict=False))


def test_no_node_draws_nothing() -> None:
    assert histogram("k", "scores", FOUND.with_changes(positive=[0, 0], negative=[0, 0]), None) == ""


def test_a_class_without_a_node_leaves_the_others() -> None:
    drawing = histogram("k", "scores", FOUND.with_changes(positive=[0, 0]), 0.3)
    assert heights(drawing, OTHERS)
    assert set(heights(drawing, OWN)) == {210.0}
