from __future__ import annotations

import itertools
import re
from typing import Any
from xml.etree import ElementTree

import pytest

from lorkit.decompose.documents.compare import CompareDocument
from lorkit.decompose.machine import fingerprint
from lorkit.export.rendering.svg import shorten
from lorkit.export.reporting.comparison.pages import comparison_chart, comparison_files, comparison_markdown

SVG = "{http://www.w3.org/2000/svg}"
COSTS = {"parameters": 1000, "deployed_bytes": 4000, "training_parameters": 2000, "training_macs": 3000}


def row(label: str, accuracy: float | None, macs: int, fraction: float = 1.0) -> dict[str, Any]:
    ci = None if accuracy is None else [accuracy - 0.02, accuracy + 0.03]
    regions = {"chest": accuracy, "knee": accuracy}
    scores = {"balanced_accuracy": accuracy, "sd": None, "ci": ci, "regions": regions, "macs": macs}
    return {
        "label": label,
        "method": "mtl",
        "fraction": fraction,
        "seed_count": 2,
        "exposure": {
            "chest": {"optimiser_steps": 264, "images": 3168},
            "knee": {"optimiser_steps": 1264, "images": 13168},
        },
        "train_seconds": 12.34,
        **scores,
        **COSTS,
    }


def plain(**changes: Any) -> dict[str, Any]:
    counts = {"n": 8, "groups": 4, "ci": {}}
    block = {"accuracy": None, "balanced_accuracy": 0.9, "auroc": None, "ece": None, "brier": None, **counts}
    teacher = {
        "backbone": "vit",
        "head_kinds": {},
        "regions": {"chest": block, "knee": block},
        "balanced_accuracy": 0.9,
        "ci": [0.85, 0.95],
        **COSTS,
    }
    pair = {"baseline": "foundation", "candidate": "mtl", "fraction": 1.0, "seeds": [0, 1], "wins": 0, "losses": 2}
    cell = {"method": "mtl", "fraction": 1.0, "label": "mtl", "regions": {}, "train_seconds": 1.0, "macs": 1, **COSTS}
    base = {
        "id": "small-1234",
        "split": "test",
        "equal_budget": "steps",
        "metric": "balanced_accuracy",
        "synthetic": False,
        "warnings": ["2 seeds: intervals know little"],
        "machine": fingerprint(),
        "arms": [],
        "rows": [{**cell, "seed": 0}, {**cell, "seed": 1}],
        "table": [row("mtl", 0.7, 10**6), row("a & <b>", 0.75, 10**6), row("mtl", 0.5, 10**6, fraction=0.1)],
        "compared_pairs": [
            {**pair, "metric": "", "regions": {}, "mean_drop": {"drop": 0.2, "ci": [0.1, 0.3], "decidable": 0.1}}
        ],
        "foundation": {**teacher, "macs": 4 * 10**6},
    }
    return {**base, **changes}


def document(**changes: Any) -> CompareDocument:
    return CompareDocument.model_validate(plain(**changes))


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_the_drawing_is_a_file_of_its_own_with_every_arm_named() -> None:
    svg = comparison_chart(document())
    found = texts(svg)
    assert {"mtl 0.700", "a & <b> 0.750", "foundation 0.900"} <= set(found)
    assert "mtl 0.500" not in found, "one fraction is drawn, the largest"
    assert "foundation: 4.0 million MACs, 0.900" in svg
    root = ElementTree.fromstring(svg)
    marks = [element for element in root.iter(f"{SVG}circle")]
    # equal costs stand side by side, and better is higher
    mtl, other = sorted((float(mark.get("cx", 0)), float(mark.get("cy", 0))) for mark in marks)
    assert other[0] - mtl[0] == pytest.approx(9)
    assert mtl[1] > other[1]
    bars = [line for line in root.iter(f"{SVG}line") if line.get("class") == "bar"]
    assert len(bars) == 3 * 3, "a bar with two ends for each interval"


def test_labels_stay_inside_and_apart() -> None:
    arms = [row(f"arm{index}", 0.7 + index / 1000, 10**6) for index in range(12)]
    root = ElementTree.fromstring(comparison_chart(document(table=arms, foundation=None)))
    heights = sorted(float(text.get("y", 0)) for text in root.iter(f"{SVG}text") if (text.text or "").startswith("arm"))
    assert min(two - one for one, two in itertools.pairwise(heights)) >= 12
    assert heights[0] > 0
    assert heights[-1] < 400
    assert shorten("a" * 30) == "a" * 12 + "..."


def test_forty_arms_of_one_cost_stay_inside_and_look_different() -> None:
    sheet = ElementTree.fromstring(
        comparison_chart(document(table=[row(f"arm{index}", 0.7, 10**6) for index in range(40)]))
    )
    width, height = (float(sheet.attrib["viewBox"].split()[index]) for index in (2, 3))
    names = [one for one in sheet.iter(f"{SVG}text") if (one.text or "").startswith("arm")]
    heights = sorted(float(one.attrib["y"]) for one in names)
    assert len(names) == 40
    assert heights[0] > 0
    assert heights[-1] < height
    sizes = {float(one.attrib["font-size"]) for one in names}
    assert min(after - before for before, after in itertools.pairwise(heights)) >= max(sizes) - 1e-6
    bars = [float(one.attrib["x1"]) for one in sheet.iter(f"{SVG}line") if one.attrib.get("class") == "bar"]
    assert min(bars) > 0
    assert max(bars) < width
    looks = {
        (one.tag, one.attrib.get("fill"), one.attrib.get("stroke"))
        for one in sheet.iter()
        if one.tag in (f"{SVG}circle", f"{SVG}rect") and one.attrib.get("fill", "none") != "none"
    }
    assert len(looks) >= 24


@pytest.mark.parametrize("synthetic", [True, False])
def test_synthetic_is_written_into_all(synthetic: bool) -> None:
    found = comparison_files(document(synthetic=synthetic))
    assert set(found) == {".html", ".md", ".svg", ".fractions.svg"}
    found[".html"] = re.sub("<style>.*?</style>", "", found[".html"], flags=re.DOTALL)  # has the watermark unused
    assert all(("SYNTHETIC" in text) is synthetic for text in found.values())


def test_the_table_has_intervals_costs_and_pairs() -> None:
    text = comparison_markdown(document())
    assert "| mtl | 1 | 2 | 0.700 [0.680, 0.730] | - | 0.700 | 0.700 | 1,000 | 1,000,000 |" in text
    assert "| foundation | - | - | 0.900 [0.850, 0.950] |" in text
    assert "| foundation | mtl | 1 | 2 | 0.200 [0.100, 0.300] | 0 | 2 |" in text
    assert text.endswith("- 2 seeds: intervals know little\n")


def test_what_is_undefined_is_a_dash_and_not_drawn() -> None:
    broken = document(table=[row("mtl", None, 10**6)], foundation=None)
    assert "| mtl | 1 | 2 | - | - | - | - |" in comparison_markdown(broken)
    assert "no metric is defined" in comparison_chart(broken)
    assert ElementTree.fromstring(comparison_chart(broken)).tag == f"{SVG}svg"


def test_other_tasks_are_shown_by_their_own_metric() -> None:
    def renamed(value: Any) -> Any:
        if isinstance(value, dict) and "accuracy" in value:
            others = dict.fromkeys(("nsd", "hd95", "dice_network_grid"))
            return {key: value[key] for key in ("n", "groups", "ci")} | {"dice": value["balanced_accuracy"], **others}
        if isinstance(value, dict):
            return {("dice" if key == "balanced_accuracy" else key): renamed(one) for key, one in value.items()}
        return [renamed(one) for one in value] if isinstance(value, list) else value

    found = comparison_files(CompareDocument.model_validate(renamed(plain()) | {"metric": "dice"}))
    assert set(found) == {".html", ".md", ".svg", ".fractions.svg"}
    assert all("dice" in text.lower() for text in found.values())
    assert not any("balanced" in text.lower() for text in found.values())
    assert "| mtl | 1 | 2 | 0.700 [0.680, 0.730] |" in found[".md"]


def test_the_training_of_each_region_is_a_table_of_steps_and_images() -> None:
    text = comparison_files(CompareDocument.model_validate(plain()))[".md"]
    lines = text.splitlines()
    (head,) = (index for index, line in enumerate(lines) if line == "| method | fraction | chest | knee |")
    assert lines[head + 1] == "| --- | --- | --- | --- |"
    assert lines[head + 2] == "| mtl | 1 | 264 steps, 3,168 images | 1,264 steps, 13,168 images |"
    assert "have the steps of the joint training" in text
    assert (
        "have the same epochs" in comparison_files(CompareDocument.model_validate(plain(equal_budget="epochs")))[".md"]
    )


def test_predicted_regions_are_a_share_and_a_table_of_true_and_predicted_ones() -> None:
    predicted = {
        "right": 0.975,
        "ci": [0.96, 0.99],
        "regions": {"chest": 0.95, "knee": 1.0},
        "confusion_by_region": {"chest": {"chest": 1900, "knee": 100}, "knee": {"chest": 0, "knee": 60}},
    }
    told = row("mola-router", 0.7, 10**6)
    text = comparison_markdown(document(table=[told, {**told, "label": "unknown", "prediction": predicted}]))
    lines = text.splitlines()
    assert "| unknown | 1 | 0.975 [0.960, 0.990] | 0.950 | 1.000 |" in lines
    (head,) = (index for index, line in enumerate(lines) if line == "| true | chest | knee |")
    assert lines[head + 1 : head + 4] == ["| --- | --- | --- |", "| chest | 1,900 | 100 |", "| knee | 0 | 60 |"]
    assert "of the one network for all regions" in text
    assert text.count("| 264 steps") == 1, "the same training is not shown twice"
    assert "predicted" not in comparison_markdown(document())


def test_nodes_are_called_nodes_and_have_auroc_beside_ap() -> None:
    table = [{**row("trees-tokens", None, 10), "ap": 0.61, "auroc": 0.83}, {**row("gaga", None, 20), "ap": 0.5}]
    found = document(metric="ap", foundation=None, table=table, compared_pairs=[], synthetic=True)
    text = comparison_markdown(found)
    assert "AP, test split" in text
    assert "| mean | sd | auroc | chest |" in text
    assert "| 0.610 | - | 0.830 |" in text
    assert "3,168 nodes" in text
    assert "simulated data" in text
    assert "entities" in text
    assert not {"image", "images", "patient", "patients"} & set(text.replace("(", " ").replace(",", " ").split())
    assert "simulated" in comparison_chart(found)


def test_controls_stand_beside_each_distillation() -> None:
    def gain(over: str, value: float) -> dict[str, Any]:
        return {"label": "mtl", "over": over, "seeds": [0], "gain": value, "ci": [value - 0.01, value + 0.02]}

    beside = {
        "label": "mtl",
        "fraction": 0.1,
        "over_student": gain("stl", 0.04),
        "random_over_student": gain("stl", 0.01),
        "over_random": gain("mtl-random-teacher", 0.03),
        "over_probe": None,
    }
    text = comparison_markdown(document(controls=[beside]))
    gains = "0.040 [0.030, 0.060] | 0.010 [0.000, 0.030] | 0.030 [0.020, 0.050] | - |"
    lines = text.splitlines()
    head = lines.index(f"| mtl | 0.1 | 0.500 | {gains}") - 2
    assert lines[head].startswith("| method | fraction | mean | over the student alone | random teacher over it |")
    assert lines[head + 1].count("---") == lines[head].count("|") - 1
    assert "No random teacher" not in text
    reason = "the foundation is an ONNX file"
    assert (
        f"No random teacher: {reason}."
        in comparison_markdown(document(controls=[{**beside, "without_random_teacher": reason}] * 2)).splitlines()
    )
    assert "over the student alone" not in comparison_markdown(document())
