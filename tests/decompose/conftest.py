"""A small finished run with weights that nobody trained: enough for whatever reads runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lorkit.decompose.artifacts import write_json, write_manifest, write_text
from lorkit.decompose.config import Config, dump_config, load_config
from lorkit.decompose.data import read_regions, split_regions
from lorkit.decompose.experts import expert_layers
from lorkit.decompose.models.backbones import build_backbone
from lorkit.decompose.models.foundation import Foundation, save_foundation
from lorkit.decompose.models.live import build_live, save_live
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.runs import OUTSIDE, Run, open_run

REGIONS = {"chest": ("normal", "pneumonia"), "knee": ("none", "mild", "severe")}


def write_data(path: Path, classes: tuple[str, ...], *, count: int = 120, seed: int = 0) -> Path:
    """Write gray images whose brightness tells the class, two a patient."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) // 2 % len(classes)
    level = 60 + 60 * labels[:, None, None]
    images = np.clip(level + rng.normal(0, 20, (count, 24, 24)) + 40 * seed, 0, 255).astype(np.uint8)
    groups = np.array([f"p{index // 2}" for index in range(count)])
    np.savez(path, images=images, labels=labels, label_names=np.array(classes), groups=groups)
    return path


def small_config(directory: Path, **settings: object) -> Config:
    """Write data of two regions and a configuration over them."""
    lines = ["image: {size: 16, channels: 1}", "split: {val: 0.25, test: 0.25}", "regions:"]
    for seed, (name, classes) in enumerate(REGIONS.items()):
        write_data(directory / f"{name}.npz", classes, seed=seed)
        lines.append(f"  {name}: {{data: {name}.npz}}")
    lines += ["foundation: {backbone: shufflenet_v2_x1_0}", "student: {backbone: shufflenet_v2_x1_0}"]
    lines += ["train: {epochs: 1, batch_size: 16}"]
    path = directory / "decompose.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return load_config(path, overrides=[f"{key}={value}" for key, value in settings.items()])


def write_run(config: Config, directory: Path) -> Run:
    """Write a run directory as training would, with random weights and settled norms."""
    torch.manual_seed(0)
    samples = read_regions(config)
    regions = RegionSet(one.region for one in samples.values())
    live = build_live(config, regions)
    with torch.no_grad():
        for name, value in live.named_parameters():
            if ".up." in name or "heads" in name:
                value.normal_(0, 0.05)
        for name, value in live.named_buffers():
            if name.endswith("running_mean"):
                value.normal_(0, 0.05)
    assert expert_layers(live) or config.method != "lorkd"
    image = config.image
    backbone = build_backbone(config.foundation.backbone, channels=image.channels, image_size=image.size)
    teacher = RegionalModel(backbone, regions, mean=image.mean, std=image.std)
    foundation = Foundation(
        model=teacher.eval(),
        backbone=config.foundation.backbone,
        regions=regions,
        heads={"chest": "own", "knee": "probe"},
        image=image.model_dump(mode="json"),
    )
    directory.mkdir(parents=True)
    write_text(directory / "config.yaml", dump_config(config))
    write_json(directory / "regions.json", {"schema_version": 1, "kind": "regions", "regions": regions.to_json()})
    write_json(directory / "splits.json", split_regions(samples, config.split, seed=config.seed).to_json(samples))
    save_live(live, directory)
    (directory / "foundation").mkdir()
    save_foundation(foundation, directory / "foundation", synthetic=regions.synthetic, inputs="foundation")
    write_manifest(directory, "run", synthetic=regions.synthetic, inputs="run", outside=OUTSIDE)
    return open_run(directory)


@pytest.fixture(scope="session")
def made_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace with data and `runs/small`, made once."""
    root = tmp_path_factory.mktemp("small")
    write_run(small_config(root, name="small"), root / "runs" / "small")
    return root


@pytest.fixture(scope="session")
def make_run(made_run: Path) -> Callable[..., Run]:
    """Write a further run over the same data: `make_run(directory, method="mtl", ...)`."""

    def make(directory: Path, **settings: object) -> Run:
        overrides = [f"{key}={value}" for key, value in settings.items()]
        return write_run(load_config(made_run / "decompose.yaml", overrides=overrides), directory)

    return make


@pytest.fixture
def small_run(made_run: Path, tmp_path: Path) -> Run:
    """A fresh copy of the small run; its data stays where it was made."""
    return open_run(shutil.copytree(made_run / "runs", tmp_path / "runs") / "small")


@pytest.fixture
def without_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out `model.pt2`, which takes seconds, where a test is about something else."""
    monkeypatch.setattr("lorkit.decompose.extraction.write_program", lambda *_, **__: None)
