import xml.etree.ElementTree as ElementTree

import pytest

from lorkit.export import charts
from lorkit.export.charts import Frame, Point, pareto

POINTS = [
    Point(owner="foundation", milliseconds=8.0, accuracy=0.9, ci=(0.88, 0.92), size_bytes=90_000_000),
    Point(owner="student", milliseconds=2.0, accuracy=0.7, ci=None, size_bytes=44_000_000),
    Point(owner="expert", milliseconds=2.1, accuracy=0.88, ci=(0.86, 0.9), size_bytes=44_000_000),
]


def text_of(drawing: str) -> str:
    return " ".join(ElementTree.fromstring(drawing).itertext())


def test_the_front_holds_what_nothing_beats() -> None:
    assert [point.owner for point in pareto(POINTS)] == ["student", "expert", "foundation"]
    beaten = Point(owner="slow", milliseconds=9.0, accuracy=0.8, ci=None, size_bytes=1)
    assert beaten not in pareto([*POINTS, beaten])


def test_a_trade_off_says_its_numbers() -> None:
    drawing = charts.trade_off("k", "chest", POINTS, Frame.around(POINTS))
    assert "expert: 2.10 ms, balanced accuracy 0.880" in text_of(drawing)
    for owner in ("foundation", "student", "expert"):
        assert f'class="solid {owner}"' in drawing


def test_one_network_alone_can_be_drawn() -> None:
    charts.trade_off("k", "chest", POINTS[:1], Frame.around(POINTS[:1]))
    text_of(charts.curves("k", "loss", {"chest": [(1.0, 0.0)]}, y_title="loss", colours={}))


def test_an_interval_stays_inside_however_wide() -> None:
    drawing = charts.interval("k", "ratio", 0.5, (1e-6, 1e6), limit=1.03, neutral=1.0, log=True, noise=3.0)
    root = ElementTree.fromstring(drawing)
    xs = [float(node.attrib[name]) for node in root.iter() for name in ("x1", "x2", "cx") if name in node.attrib]
    assert min(xs) >= 0
    assert max(xs) <= 300
    assert "limit 1.030" in text_of(drawing)


def test_calibration_leaves_out_bins_that_say_nothing() -> None:
    curve = {"confidence": [0.4, 0.6, None, 0.9], "accuracy": [0.0, 0.5, None, 1.0], "n": [2, 10, 0, 30]}
    drawing = charts.calibration("k", "chest", {"expert": curve})
    assert drawing.count("<circle") == 2


def test_curves_leave_out_what_is_not_finite() -> None:
    series = {"a": [(1.0, 0.5), (2.0, float("nan")), (3.0, 0.25)], "b": [(1.0, float("inf"))]}
    said = text_of(charts.curves("k", "loss", series, y_title="loss", colours={"a": 0}))
    assert "a ends at 0.25" in said
    assert "b ends" not in said
    assert charts.curves("k", "loss", {"b": []}, y_title="loss", colours={}) == ""


@pytest.mark.parametrize("name", ["<script>", 'a" onload="x'])
def test_names_cannot_break_a_drawing(name: str) -> None:
    drawing = charts.curves("k", name, {name: [(1.0, 1.0), (2.0, 0.5)]}, y_title=name, colours={name: 1})
    assert "<script" not in drawing
    ElementTree.fromstring(drawing)
