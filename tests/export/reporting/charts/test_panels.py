import xml.etree.ElementTree as ElementTree

import pytest

from lorkit.decompose.documents.scores import Reliability
from lorkit.export.reporting.charts import panels


def text_of(drawing: str) -> str:
    return " ".join(ElementTree.fromstring(drawing).itertext())


def test_one_epoch_alone_can_be_drawn() -> None:
    text_of(panels.curve_chart("k", "loss", {"chest": [(1.0, 0.0)]}, y_title="loss", colours={}))


def test_an_interval_stays_inside_however_wide() -> None:
    drawing = panels.interval_chart("k", "ratio", 0.5, (1e-6, 1e6), limit=1.03, neutral=1.0, log=True, noise=3.0)
    root = ElementTree.fromstring(drawing)
    xs = [float(node.attrib[name]) for node in root.iter() for name in ("x1", "x2", "cx") if name in node.attrib]
    assert min(xs) >= 0
    assert max(xs) <= 300
    assert "limit 1.030" in text_of(drawing)


def test_calibration_leaves_out_bins_that_say_nothing() -> None:
    bins = {"lows": [0.0, 0.5, 0.7, 0.8], "highs": [0.5, 0.7, 0.8, 1.0], "counts": [2, 10, 0, 30]}
    curve = Reliability(**bins, confidences=[0.4, 0.6, None, 0.9], accuracies=[0.0, 0.5, None, 1.0])
    drawing = panels.calibration_chart("k", "chest", {"expert": curve})
    assert drawing.count("<circle") == 2


def test_curves_leave_out_what_is_not_finite() -> None:
    series = {"a": [(1.0, 0.5), (2.0, float("nan")), (3.0, 0.25)], "b": [(1.0, float("inf"))]}
    said = text_of(panels.curve_chart("k", "loss", series, y_title="loss", colours={"a": 0}))
    assert "a ends at 0.25" in said
    assert "b ends" not in said
    assert panels.curve_chart("k", "loss", {"b": []}, y_title="loss", colours={}) == ""


@pytest.mark.parametrize("name", ["<script>", 'a" onload="x'])
def test_names_cannot_break_a_drawing(name: str) -> None:
    drawing = panels.curve_chart("k", name, {name: [(1.0, 1.0), (2.0, 0.5)]}, y_title=name, colours={name: 1})
    assert "<script" not in drawing
    ElementTree.fromstring(drawing)
