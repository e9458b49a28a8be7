"""The page of a comparison, as text and in a headless Chromium."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from page_checks import CONTRASTS, CUT, LEAST_CONTRAST

from lorkit.decompose.documents.compare import CompareDocument
from lorkit.decompose.machine import fingerprint
from lorkit.export.reporting.comparison.page import command, comparison_html
from lorkit.export.reporting.comparison.pages import comparison_files

COSTS = {
    "parameters": 1000, "macs": 10**6, "deployed_bytes": 4000, "training_parameters": 2000, "training_macs": 3000,
}  # fmt: skip
EVIL = "<script>alert(1)</script>"


def scored(region: str) -> dict[str, Any]:
    block = {"accuracy": None, "balanced_accuracy": 0.9, "auroc": None, "ece": None, "brier": None}
    return {region: {**block, "n": 28, "groups": 14, "ci": {}}}


def arm(label: str, method: str, *settings: str, **more: Any) -> dict[str, Any]:
    return {"label": label, "method": method, "settings": list(settings), "digest": "0" * 64, **more}


def document(**changes: Any) -> CompareDocument:
    labels = ("lorkd", "lorkd-random-teacher", "hot", "stl")
    regions = {**scored("chest"), **scored("knee_with_a_long_name")}
    drop = {"drop": -0.04, "ci": [-0.07, -0.01], "decidable": 0.03}
    by_region = {name: {**drop, "baseline": 0.8, "candidate": 0.84, "n": 28, "groups": 14, "mcnemar_p": None}
                 for name in regions}  # fmt: skip
    gain = {"label": "lorkd", "over": "stl", "seeds": [0, 1], "gain": 0.04, "ci": [0.01, 0.07]}
    exposure = {name: {"optimiser_steps": 264, "images": 3168} for name in regions}
    confusion = {name: dict.fromkeys(regions, 14) for name in regions}
    prediction = {
        "right": 0.5,
        "ci": [0.4, 0.6],
        "regions": dict.fromkeys(regions, 0.5),
        "confusion_by_region": confusion,
    }
    base: dict[str, Any] = {
        "id": "run-1234", "split": "test", "equal_budget": "steps", "metric": "balanced_accuracy", "synthetic": True,
        "warnings": [f"warning {number}" for number in range(7)], "machine": fingerprint(),
        "arms": [
            arm("lorkd", "lorkd"), arm("lorkd-random-teacher", "lorkd", random_teacher=True),
            arm("hot", "kd", "kd.temperature=2", "train.lr=0.01"), arm("stl", "stl"),
            arm("hot-student-alone", "stl", "train.lr=0.01"),
        ],
        "rows": [
            {"method": label, "label": label, "seed": seed, "fraction": fraction, "regions": regions,
             "train_seconds": 1.0, **COSTS}
            for label in labels for seed in (0, 1) for fraction in (0.1, 1.0)
        ],
        "table": [
            {"label": label, "method": label, "fraction": fraction, "seed_count": 2, "sd": 0.01, "ci": [0.7, 0.9],
             "balanced_accuracy": 0.8, "regions": dict.fromkeys(regions, 0.8), "exposure": exposure,
             "train_seconds": 12.3, "prediction": prediction if label == "lorkd" else None, **COSTS}
            for fraction in (1.0, 0.1) for label in labels
        ],
        "compared_pairs": [
            {"baseline": baseline, "candidate": candidate, "fraction": fraction, "seeds": [0, 1],
             "metric": "balanced_accuracy", "regions": by_region, "mean_drop": drop, "wins": 2, "losses": 0}
            for fraction in (1.0, 0.1) for baseline, candidate in (("stl", "lorkd"), ("foundation", "lorkd"))
        ],
        "controls": [
            {"label": "lorkd", "fraction": 1.0, "over_student": gain, "random_over_student": None, "over_random": gain,
             "over_probe": None}
        ],
        "foundation": {"backbone": "vit", "head_kinds": {"chest": "probe"}, "balanced_accuracy": 0.9,
                       "ci": [0.85, 0.95], "regions": regions, **COSTS},
    }  # fmt: skip
    return CompareDocument.model_validate({**base, **changes})


def test_the_page_has_all_of_the_comparison() -> None:
    html = comparison_files(document())[".html"]
    assert re.findall(r'<h2 id="(\w+)"', html) == [
        "results", "differences", "controls", "costs", "protocol", "again", "terms",
    ]  # fmt: skip
    assert html.count('class="chart forest better"') == 4
    for text in ("+0.040", "[+0.010, +0.070]", "28 cases, 14 patients", "SYNTHETIC", "3 more warnings",
                 "kd.temperature=2, train.lr=0.01", "--controls"):  # fmt: skip
        assert text in html, text
    assert html.count("data:image/svg+xml;base64") == 2, "of several fractions there is a second chart"


def test_the_command_names_what_the_controls_do_not_add() -> None:
    words = shlex.split(command(document()))
    assert words[:3] == ["decompose", "compare", "comparisons/run-1234/config.yaml"]
    options = {words[at]: words[at + 1] for at in range(3, len(words) - 1) if words[at].startswith("--")}
    assert options == {
        "--methods": "lorkd,stl", "--variant": "hot:kd:kd.temperature=2,train.lr=0.01", "--seeds": "0,1",
        "--fractions": "0.1,1", "--split": "test", "--budget": "steps",
    }  # fmt: skip
    assert words[-1] == "--controls"
    sizes = "student.backbone=ragformer:width=32,mixing=false"
    ablated = document(arms=[arm("ragformer", "ragformer"), arm("ragformer-no-mixing", "ragformer", sizes)])
    assert "--methods ragformer,ragformer-no-mixing --seeds" in command(ablated)


def test_names_from_data_are_escaped_and_a_single_method_has_a_page() -> None:
    alone = document(id=EVIL, compared_pairs=[], controls=[], foundation=None, warnings=[EVIL])
    html = comparison_html(alone, [(EVIL, "<svg/>")])
    assert html.count("<script") == 1
    assert "One method has nothing to be compared with" in html


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_nothing_is_cut_and_every_text_can_be_read(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "comparison.html"
    path.write_text(comparison_files(document())[".html"], encoding="utf-8")
    page, said = browser.new_page(), list[str]()
    page.on("console", lambda message: said.append(message.text))
    page.goto(path.resolve().as_uri())
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    for width in (390, 700, 1000, 1300):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(CUT) == [], width
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = page.evaluate(CONTRASTS)
        assert len(found) > 100
        assert [text for contrast, text in found if contrast < LEAST_CONTRAST] == []
    page.set_viewport_size({"width": 720, "height": 1000})
    page.emulate_media(media="print")
    assert page.evaluate(CUT) == [], "on paper"
    assert said == []
    page.close()
