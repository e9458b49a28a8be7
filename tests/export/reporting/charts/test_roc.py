import xml.etree.ElementTree as ElementTree
from typing import Any

from lorkit.decompose.documents.scores import ClassScores
from lorkit.export.reporting.charts.roc import roc_curves, shown_classes


def rows(*names: str, auroc: float | None = 0.9, **keys: Any) -> list[ClassScores]:
    curve = {"fpr": [0.0, 0.1, 1.0], "tpr": [0.0, 0.8, 1.0]}
    known = {"n": 9, "recall": None, "ppv": None, "auroc": auroc, "roc": curve, **keys}
    return [ClassScores.model_validate({"class": name, **known}) for name in names]


def lines(drawing: str) -> list[str]:
    return [
        node.attrib["class"] for node in ElementTree.fromstring(drawing).iter("path") if "roc" in node.attrib["class"]
    ]


def test_each_class_has_a_line_an_owner() -> None:
    drawing = roc_curves("k", "chest", {"expert": rows("a", "b", "c"), "foundation": rows("a", "b", "c", auroc=0.7)})
    assert len(lines(drawing)) == 6
    assert len({name for name in lines(drawing) if "expert" in name}) == 3, "told apart by colour and by dashes"
    assert "foundation, c: AUROC 0.700" in drawing


def test_of_two_classes_one_is_drawn() -> None:
    assert [row.class_name for row in shown_classes(rows("no", "yes"))] == ["yes"]
    assert len(lines(roc_curves("k", "chest", {"expert": shown_classes(rows("no", "yes"))}))) == 1
    assert len(lines(roc_curves("k", "chest", {"expert": rows("effusion", "nodule")}))) == 2


def test_a_measurement_without_curves_draws_nothing() -> None:
    assert roc_curves("k", "chest", {"expert": rows("a", "b", "c", auroc=None, roc=None)}) == ""
