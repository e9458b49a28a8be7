import xml.etree.ElementTree as ElementTree

import pytest

from lorkit.export.reporting.charts.tradeoff import ExportPoint, pareto, trade_off, undominated


def point(owner: str, milliseconds: float, accuracy: float, size_bytes: int, label: str | None = None) -> ExportPoint:
    return ExportPoint(
        owner=owner,
        label=label or f"{owner} onnx fp32",
        short=owner,
        milliseconds=milliseconds,
        accuracy=accuracy,
        ci=(accuracy - 0.02, accuracy + 0.02),
        size_bytes=size_bytes,
        href=f"#{owner}",
    )


POINTS = [
    point("foundation", 8.0, 0.9, 90_000_000),
    point("student", 2.0, 0.7, 44_000_000),
    point("expert", 2.1, 0.88, 44_000_000),
]


def test_the_front_holds_what_nothing_beats_in_two() -> None:
    assert [one.owner for one in pareto(POINTS)] == ["student", "expert", "foundation"]
    beaten = point("slow", 9.0, 0.8, 1)
    assert beaten not in pareto([*POINTS, beaten])


def test_size_is_the_third_of_the_three() -> None:
    small = point("slow", 9.0, 0.8, 1)
    assert undominated([*POINTS, small]) == [True, True, True, True]
    large = point("slow", 9.0, 0.8, 90_000_001)
    assert undominated([*POINTS, large]) == [True, True, True, False]
    assert undominated([POINTS[0], POINTS[0]]) == [True, True], "equals do not beat each other"


def test_every_mark_is_a_link_that_says_its_numbers() -> None:
    root = ElementTree.fromstring(
        trade_off("k", "chest", [*POINTS, point("slow", 9.0, 0.8, 10**9)], POINTS, "balanced accuracy")
    )
    assert root.attrib["role"] == "group", "the links of an image would be hidden from a screen reader"
    links = {link.attrib["href"]: link.attrib["aria-label"] for link in root.iter("a")}
    assert set(links) == {"#foundation", "#student", "#expert", "#slow"}
    assert links["#expert"] == (
        "expert onnx fp32, balanced accuracy 0.880 [0.860, 0.900], 2.10 ms median, 44.00 MB, "
        "on the Pareto front of accuracy, latency and size"
    )
    assert links["#slow"].endswith("another export is better in all three")


def test_the_area_of_a_mark_is_its_size() -> None:
    pair = [point("a", 1.0, 0.9, 100), point("b", 2.0, 0.9, 10_000)]
    root = ElementTree.fromstring(trade_off("k", "chest", pair, pair, "Dice"))
    radii = {
        link.attrib["href"]: float(circle.attrib["r"])
        for link in root.iter("a")
        for circle in link.iter("circle")
        if circle.attrib["class"].startswith("area")
    }
    assert (radii["#b"] - 4) / (radii["#a"] - 4) == pytest.approx(10, rel=0.02)


def test_one_network_alone_can_be_drawn() -> None:
    ElementTree.fromstring(trade_off("k", "chest", POINTS[:1], POINTS[:1], "Dice"))


def test_names_cannot_break_out() -> None:
    evil = point("expert", 1.0, 0.9, 10, label='"><script>x</script>')
    drawing = trade_off("k", "<script>", [evil], [evil], "<b>")
    assert "<script" not in drawing
    ElementTree.fromstring(drawing)
