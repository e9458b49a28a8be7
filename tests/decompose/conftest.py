"""A small finished run with weights that nobody trained: enough for whatever reads runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import register_tiny, small_config, write_run

from lorkit.decompose.config import Config, default_config, load_config
from lorkit.decompose.data import PreparedRegion
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.extraction.extraction import extract
from lorkit.decompose.methods import TrainingModule, get_method
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.runs import Run, open_run

DISTILLED = """
method: rd
image: {size: 16, channels: 1}
split: {val: 0.25, test: 0.25}
regions: {chest: {data: chest.npz}, knee: {data: knee.npz}}
foundation: {backbone: tiny_resnet_wide}
student: {backbone: tiny_resnet}
train: {epochs: 1, batch_size: 8}
"""


@pytest.fixture(scope="session")
def made_run(tiny: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
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


@pytest.fixture(scope="session")
def by_id_run(make_run: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A LoRKD run with its region-id network; tests only read it."""
    run = make_run(tmp_path_factory.mktemp("home") / "runs" / "lorkd")
    extract(run, region_id=True)
    return run


@pytest.fixture(scope="session")
def routed_run(make_run: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A mola-router run with its router and one expert; tests only read it."""
    settings = {"student.backbone": "tiny_resnet", "mola.gates": "stage", "mola.adapters": 3}
    run = make_run(tmp_path_factory.mktemp("home") / "runs" / "routed", method="mola-router", **settings)
    extract(run, router=True, region="knee")
    return run


@pytest.fixture
def small_run(made_run: Path, tmp_path: Path) -> Run:
    """A fresh copy of the small run; its data stays where it was made."""
    return open_run(shutil.copytree(made_run / "runs", tmp_path / "runs") / "small")


@pytest.fixture
def without_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out `model.pt2`, which takes seconds, where a test is about something else."""
    monkeypatch.setattr("lorkit.decompose.extraction.expert_builder.write_program", lambda *_, **__: None)


@pytest.fixture(scope="session", autouse=True)
def tiny() -> Iterator[None]:
    """Backbones `tiny` (batch norms), `tiny_depthwise`, `tiny_groups` (no statistics of a batch), `tiny_resnet`.

    `tiny_resnet_wide` has other widths than `tiny_resnet`, as a teacher has.
    """
    with pytest.MonkeyPatch.context() as patch:
        register_tiny(patch.setitem)
        yield


@pytest.fixture
def tiny_module(tiny: None) -> Callable[..., TrainingModule]:
    """Build the student of a method with two regions on a tiny backbone: `tiny_module("lorkd", "train.ema=0.9")`.

    The foundation is None, so that lorkd has its cross-entropy alone.
    """

    def make(method: str, *settings: str, backbone: str = "tiny") -> TrainingModule:
        regions = RegionSet([Region(name="a", classes=("x", "y")), Region(name="b", classes=("x", "y", "z"))])
        data = "regions={a: {data: x}, b: {data: x}}"
        small = ("image.size=16", "image.channels=1", f"student.backbone={backbone}", "train.lr=0.01", "lorkd.rank=2")
        config = default_config(overrides=[data, *small, *settings], method=method)
        torch.manual_seed(0)
        module = get_method(method).build(config, regions, None)
        with torch.no_grad():
            for name, value in module.named_parameters():
                if ".up." in name:  # starts at zero, where the other factor has no gradient
                    value.normal_(0, 0.1)
        return module

    return make


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """Draw images of regions a and b: `make_batch(5, 7)`."""

    def make(*counts: int, seed: int = 0) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        region = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        total = int(region.numel())
        image = torch.rand(total, 1, 16, 16, generator=generator)
        return Batch(image=image, label=torch.arange(total) % 2, region=region, sample=torch.arange(total))

    return make


@pytest.fixture(scope="session")
def configured(tiny: None) -> Callable[..., Config]:
    """Write data of two regions, 24 x 24 pixels, and a configuration of `rd`: `configured(tmp_path, **settings)`."""

    def write(directory: Path, **settings: object) -> Config:
        for seed, (name, classes) in enumerate({"chest": ("no", "yes"), "knee": ("none", "mild", "severe")}.items()):
            rng = np.random.default_rng(seed)
            labels = np.arange(48) % len(classes)
            images = np.clip(60 + 60 * labels[:, None, None] + rng.normal(0, 20, (48, 24, 24)), 0, 255).astype(np.uint8)
            groups = np.array([f"p{index}" for index in range(48)])
            names = np.array(classes)
            np.savez(directory / f"{name}.npz", images=images, labels=labels, label_names=names, groups=groups)
        path = directory / "decompose.yaml"
        path.write_text(DISTILLED, encoding="utf-8")
        return load_config(path, overrides=[f"{key}={value}" for key, value in settings.items()])

    return write


@pytest.fixture
def make_prepared() -> Callable[[int], PreparedRegion]:
    """Draw so many prepared pictures of region a, whose classes x and y take turns."""

    def make(count: int) -> PreparedRegion:
        stored = np.random.default_rng(count).random((count, 1, 16, 16), dtype=np.float32)
        ids = tuple(str(index) for index in range(count))
        config = default_config(overrides=["regions={a: {data: x}}", "image={size: 16, channels: 1}"])
        return PreparedRegion(
            region=Region(name="a", classes=("x", "y")), recipe=build_recipe(config.image, config.regions["a"]),
            stored=stored, labels=np.arange(count) % 2, groups=ids, ids=ids, digests=ids,
        )  # fmt: skip

    return make
