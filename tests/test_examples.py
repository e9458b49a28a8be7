"""The examples on phantoms run as written, with fewer patients, small networks and one epoch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_runs import register_tiny

from lorkit.decompose.config import load_config
from lorkit.decompose.data.phantoms import reader as phantom
from lorkit.decompose.evaluation.evaluation import evaluate
from lorkit.decompose.extraction.extraction import extract
from lorkit.decompose.runs import open_run
from lorkit.decompose.training.training import train

FOLDER = Path(__file__).parent.parent / "examples" / "heterogeneity"
SMALL = ["foundation.backbone=tiny_resnet_wide", "foundation.epochs=1", "train.epochs=1", "train.batch_size=24"]
TASKS = {
    "domains": dict.fromkeys(("plain", "bright", "coarse", "uneven"), "classification"),
    "tasks": {"brain": "classification", "chest": "multilabel", "knee": "segmentation"},
    "same-input": {"bones": "segmentation", "joint": "classification", "disease": "classification"},
}


@pytest.mark.parametrize("kind", TASKS)
def test_each_kind_of_heterogeneity_has_an_example_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    register_tiny(monkeypatch.setitem)
    monkeypatch.setattr("lorkit.decompose.extraction.expert_builder.write_program", lambda *_, **__: None)
    monkeypatch.setattr(phantom, "PATIENTS", {"train": 12, "val": 12, "test": 12})
    student = [] if kind == "same-input" else ["student.backbone=tiny_resnet"]
    run = open_run(train(load_config(FOLDER / kind / "decompose.yaml", overrides=[*SMALL, *student])).run)
    assert {region.name: region.task for region in run.regions} == TASKS[kind]
    assert {region for row in run.metrics for region in row["val"][row["metric"]]} == set(TASKS[kind])
    values = [value for row in run.metrics for term in row["loss"].values() for value in term.values()]
    assert np.isfinite(values).all()
    extract(run)
    assert {name: block.task for name, block in evaluate(run).regions.items()} == TASKS[kind]
    parts = json.loads((run.path / "splits.json").read_text())["regions"]
    images = {name: [sorted(part) for part in one.values()] for name, one in parts.items()}
    same = [one == images[run.regions.names[0]] for one in images.values()]
    assert all(same) if kind == "same-input" else sum(same) == 1


def test_every_configuration_has_a_test_and_a_row_in_the_page() -> None:
    found = {path.parent.name for path in FOLDER.glob("*/decompose.yaml")}
    assert found == set(TASKS)
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"[{name}]({name}/decompose.yaml)" in page for name in found)
