"""Several labels per image, beside a region of classes: from drawn films to a verdict and a report."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from small_runs import register_tiny

from lorkit.decompose.config import load_config
from lorkit.decompose.data.phantoms import reader as phantom
from lorkit.decompose.documents.scores import MultilabelScores
from lorkit.decompose.evaluation.evaluation import evaluate
from lorkit.decompose.extraction.extraction import extract
from lorkit.decompose.runs.expert import load_expert
from lorkit.decompose.training.training import train
from lorkit.export.building.exporting import export
from lorkit.export.building.verification import verify
from lorkit.export.gating.gating import gate
from lorkit.export.prediction.prediction import predict
from lorkit.export.reporting.reporting import report

LABELS = ("effusion", "nodule")


def write_films(root: Path, patients: int = 90) -> None:
    """Draw chest films, one a patient, as files and as an array."""
    numbers = np.arange(patients)
    images = phantom.draw(phantom.FINDINGS, numbers, np.zeros(patients, dtype=np.int64))[:, ::2, ::2]
    table = phantom.stated_findings(numbers)
    np.savez(root / "films.npz", images=images, labels=table, label_names=np.array(LABELS), groups=numbers)
    knees = phantom.draw("knee", numbers, np.zeros(patients, dtype=np.int64))[:, ::2, ::2]
    np.savez(root / "knee.npz", images=knees, labels=phantom.labels_of("knee", numbers), groups=numbers)
    (root / "films").mkdir()
    for number in (0, 1, 4):
        Image.fromarray(images[number]).save(root / "films" / f"{number}.png")


def write_config(root: Path, **settings: object) -> Path:
    document = {
        "image": {"size": 32, "channels": 1},
        "split": {"val": 0.25, "test": 0.4},
        "regions": {"chest": {"data": "films.npz", "pos_weight": "auto"}, "knee": {"data": "knee.npz"}},
        "foundation": {"backbone": "tiny_resnet_wide", "epochs": 1},
        "student": {"backbone": "tiny_resnet"},
        "train": {"epochs": 1, "batch_size": 16},
        **settings,
    }
    path = root / "decompose.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with drawn films in which commands run."""
    monkeypatch.chdir(tmp_path)
    register_tiny(monkeypatch.setitem)
    write_films(tmp_path)
    return tmp_path


def test_from_films_to_a_verdict_and_a_report(root: Path) -> None:
    run = train(load_config(write_config(root))).run
    live = evaluate(run)
    assert set(live.regions["chest"].labels) == set(LABELS)  # type: ignore[union-attr]
    (expert,) = extract(run, region="chest")
    info = load_expert(expert.path).info
    assert info.decision is not None
    assert (info.decision.policy, info.decision.split) == ("youden", "val")
    stored = evaluate(run)
    chest = stored.regions["chest"]
    assert isinstance(chest, MultilabelScores)
    assert {name: row.threshold for name, row in chest.labels.items()} == info.decision.thresholds
    assert stored.to_json()["means"].keys() >= {"auroc", "balanced_accuracy"}
    assert "thresholds" in (expert.path / "README.md").read_text()

    exports = export(expert.path, profile="cpu-generic").exports + export(run=run, profile="cpu-generic").exports
    assert {one.parity.status for one in exports} == {"passed"}
    onnx = next(one.path for one in exports if one.owner == "expert")
    written = json.loads((onnx / "export.json").read_text())
    assert written["decision"]["thresholds"] == info.decision.thresholds
    assert verify(onnx).status == "passed"

    films = root / "films"
    one, two = (predict(path, [films], allow_synthetic=True, allow_out_of_region=True) for path in (expert.path, onnx))
    for before, after in zip(one.to_json()["predictions"], two.to_json()["predictions"], strict=True):
        for name in LABELS:
            assert before["labels"][name]["probability"] == pytest.approx(
                after["labels"][name]["probability"], abs=1e-5
            )
            assert before["labels"][name]["answer"] == after["labels"][name]["answer"]
    predict(onnx, [films], allow_synthetic=True, allow_out_of_region=True, out=root / "answers")
    rows = list(csv.DictReader((root / "answers" / "predictions.csv").read_text().splitlines()))
    assert len(rows) == 3
    assert set(rows[0]) == {"input", "out_of_region", *LABELS, *(f"p_{name}" for name in LABELS)}
    assert {row[name] for row in rows for name in LABELS} <= {"positive", "negative"}

    judged = gate(run=run, max_seconds=0.1)
    accuracy = judged.regions["chest"].accuracy_test
    foundation = evaluate(run, model="foundation").regions["chest"]
    assert accuracy.metric == "auroc"
    assert (accuracy.baseline, accuracy.candidate) == pytest.approx((foundation.auroc, chest.auroc), abs=1e-6)  # type: ignore[union-attr]
    assert [row.name for row in accuracy.by_structure] == list(LABELS)
    report(run)
    text = (run / "report" / "report.md").read_text()
    assert "Labels of chest" in text
    assert "Thresholds were chosen on the validation split (youden)" in text
    assert "<caption>Each label on the test cases" in (run / "report" / "report.html").read_text()


@pytest.mark.parametrize("method", ["rd", "drd", "kd", "dist", "linear-probe", "mtl-kd"])
def test_methods_train_regions_of_labels_beside_regions_of_classes(root: Path, method: str) -> None:
    settings: dict[str, object] = {"split": {"val": 0.3, "test": 0.4}, "train": {"epochs": 1, "batch_size": 20}}
    run = train(load_config(write_config(root, **settings), method=method)).run
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found = {region: value for row in rows for region, value in row["val"][row["metric"]].items()}
    assert set(found) == {"chest", "knee"}
    assert all(0 <= value <= 1 for value in found.values())
    assert all(np.isfinite(value) for row in rows for term in row["loss"].values() for value in term.values())
