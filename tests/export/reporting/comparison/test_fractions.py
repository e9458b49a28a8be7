from __future__ import annotations

import itertools
from typing import Any
from xml.etree import ElementTree

import pytest

from lorkit.decompose.documents.compare import CompareDocument
from lorkit.decompose.machine import fingerprint
from lorkit.export.reporting.comparison.fractions import fraction_curves

COSTS = {"parameters": 1, "macs": 1, "deployed_bytes": 1, "training_parameters": 1, "training_macs": 1}
SVG = "{http://www.w3.org/2000/svg}"


def row(label: str, fraction: float, accuracy: float | None) -> dict[str, Any]:
    ci = None if accuracy is None else [accuracy - 0.02, accuracy + 0.03]
    scores = {"balanced_accuracy": accuracy, "sd": None, "ci": ci, "regions": {"chest": accuracy}}
    head = {"label": label, "method": "mtl", "fraction": fraction, "seed_count": 1}
    return {**head, **scores, "train_seconds": 1.0, **COSTS}


def document(rows: list[dict[str, Any]], **changes: Any) -> CompareDocument:
    teacher = {
        "backbone": "vit",
        "head_kinds": {},
        "regions": {},
        "balanced_accuracy": 0.9,
        "ci": [0.85, 0.95],
        **COSTS,
    }
    whole = {
        "id": "small-1234",
        "machine": fingerprint(),
        "arms": [],
        "rows": [],
        "compared_pairs": [],
        "split": "test",
        "equal_budget": "steps",
        "metric": "balanced_accuracy",
        "synthetic": False,
        "table": rows,
        "foundation": teacher,
        **changes,
    }
    return CompareDocument.model_validate(whole)


def test_each_arm_is_a_line_over_the_fractions_with_its_intervals() -> None:
    rows = [
        row(arm, part, 0.6 + part / 10 + index / 50) for index, arm in enumerate("ab") for part in (1.0, 0.05, 0.25)
    ]
    drawn = fraction_curves(document(rows))
    assert drawn is not None
    root = ElementTree.fromstring(drawn)
    dots = [(float(one.attrib["cx"]), float(one.attrib["cy"])) for one in root.iter(f"{SVG}circle")]
    assert len(dots) == 6
    first, second = dots[:3], dots[3:]
    for line in (first, second):
        assert [x for x, _ in line] == sorted(x for x, _ in line), "from few patients to many"
        assert [y for _, y in line] == sorted((y for _, y in line), reverse=True), "better is higher"
    assert [below > above for (_, below), (_, above) in zip(first, second, strict=True)] == [True] * 3
    names = [one.text for one in root.iter(f"{SVG}text")]
    assert {"a 0.700", "b 0.720", "foundation 0.900"} <= set(names)
    titles = [one.text for one in root.iter(f"{SVG}title")]
    assert "a: 0.05: 0.605, 0.25: 0.625, 1: 0.700" in titles


def test_one_fraction_or_nothing_defined_is_no_curve() -> None:
    assert fraction_curves(document([row("a", 1.0, 0.7), row("b", 1.0, 0.8)])) is None
    assert fraction_curves(document([row("a", 1.0, None), row("a", 0.1, None)])) is None


@pytest.mark.parametrize("arms", [1, 20])
def test_labels_stay_inside_and_apart_and_phantoms_are_marked(arms: int) -> None:
    rows = [row(f"arm{index}", part, 0.7) for index in range(arms) for part in (0.1, 1.0)]
    drawn = fraction_curves(document(rows, foundation=None, synthetic=True))
    assert drawn is not None
    root = ElementTree.fromstring(drawn)
    assert "SYNTHETIC" in drawn
    assert "foundation" not in drawn
    names = [one for one in root.iter(f"{SVG}text") if (one.text or "").startswith("arm")]
    heights = sorted(float(one.attrib["y"]) for one in names)
    assert len(names) == arms
    assert heights[0] > 0
    assert heights[-1] < 400
    sizes = max(float(one.attrib["font-size"]) for one in names)
    assert all(after - before >= sizes - 1e-6 for before, after in itertools.pairwise(heights))
