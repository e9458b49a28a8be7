"""Regions of classes, labels and masks in one run with a U-Net: from images to a verdict and a report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from plain_digests import found_below, plain_digests
from small_runs import register_tiny

from lorkit.decompose.config import load_config
from lorkit.decompose.evaluation.evaluation import evaluate
from lorkit.decompose.extraction.extraction import extract
from lorkit.decompose.models.cost import count_parameters
from lorkit.decompose.runs import open_run
from lorkit.decompose.runs.expert import load_expert
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.decompose.training.training import train
from lorkit.export.building.exporting import export
from lorkit.export.building.verification import verify
from lorkit.export.gating.gating import gate
from lorkit.export.reporting.reporting import report

TASKS = {"square": "segmentation", "side": "classification", "where": "multilabel"}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with three tasks on the same squares, in which commands run."""
    monkeypatch.chdir(tmp_path)
    register_tiny(monkeypatch.setitem)
    rng = np.random.default_rng(0)
    images, masks = rng.integers(0, 80, (60, 16, 16), dtype=np.uint8), np.zeros((60, 16, 16), np.uint8)
    corners = rng.integers(0, 9, (60, 2))
    for mask, (top, left) in zip(masks, corners, strict=True):
        mask[top : top + 8, left : left + 8] = 1
    images += masks * 150
    names = {"mask_names": np.array(["background", "square"]), "label_names": np.array(["upper", "left"])}
    np.savez(tmp_path / "square.npz", images=images, masks=masks, mask_names=names["mask_names"])
    np.savez(tmp_path / "side.npz", images=images, labels=(corners[:, 1] > 4).astype(int))
    np.savez(tmp_path / "where.npz", images=images, labels=(corners < 5).astype(int), label_names=names["label_names"])
    document = {
        "image": {"size": 16, "channels": 1},
        "split": {"val": 0.3, "test": 0.3},
        "regions": {name: {"data": f"{name}.npz", "task": task} for name, task in TASKS.items()},
        "foundation": {"backbone": "tiny_resnet_wide", "epochs": 1},
        "student": {"backbone": "tiny_unet"},
        "train": {"epochs": 1, "batch_size": 12, "lr": 0.005, "warmup_epochs": 0},
    }
    (tmp_path / "decompose.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return tmp_path


def test_from_three_tasks_on_the_same_images_to_a_verdict_and_a_report(root: Path) -> None:
    run = train(load_config(root / "decompose.yaml")).run
    split = json.loads((run / "splits.json").read_text())["regions"]
    assert all(sorted(split[name]["test"]) == sorted(split["square"]["test"]) for name in TASKS), "the same images"
    experts = {result.region: load_expert(result.path) for result in extract(run)}
    sizes = {name: count_parameters(expert.network) for name, expert in experts.items()}
    assert sizes["side"] < 0.8 * sizes["square"], "classes need no decoder"
    assert abs(sizes["side"] - sizes["where"]) < 2

    exports = export(run=run, profile="cpu-generic", owners=("expert", "foundation")).exports
    assert {one.parity.status for one in exports} == {"passed"}
    owned = {one.region: one.path for one in exports if one.owner == "expert"}
    assert set(owned) == set(TASKS)
    assert {verify(path).status for path in owned.values()} == {"passed"}

    document = evaluate(run)
    assert {name: block.task for name, block in document.regions.items()} == TASKS
    judged = gate(run=run, max_seconds=0.1)
    metrics = {name: region.accuracy_test.metric for name, region in judged.regions.items()}
    assert metrics == {"square": "dice", "side": "balanced_accuracy", "where": "auroc"}
    for name, region in judged.regions.items():
        assert region.accuracy_test.candidate == pytest.approx(getattr(document.regions[name], metrics[name]), abs=1e-6)
    evaluate(run, region="side", data=root / "side.npz")
    report(run)
    known = plain_digests(load_config(root / "decompose.yaml"), RunSplits(open_run(run)))
    assert len(known) > 120, "60 images and masks, their files, parts and regions"
    assert found_below(run, known) == {}
    text = (run / "report" / "report.md").read_text()
    assert all(name in text for name in (*TASKS, "Dice", "Balanced accuracy", "AUROC"))
