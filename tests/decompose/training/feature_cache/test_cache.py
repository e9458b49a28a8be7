"""Trainings with a cache of the teacher's features against the same without, bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from small_graphs import graph_config

from lorkit.decompose import train as train_run
from lorkit.decompose.artifacts import digest_bytes, read_json
from lorkit.decompose.config import Config, default_config
from lorkit.decompose.data import PreparedRegion
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.events import Event, Finished, Notice, Saved, Step
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.training.feature_cache import feature_cache_factory
from lorkit.decompose.training.loop.devices import launch
from lorkit.decompose.training.loop.epochs import fit
from lorkit.decompose.training.loop.phase import Phase
from lorkit.decompose.training.loop.step import OptimizerStep

Parts = dict[str, dict[str, PreparedRegion]]
Train = Callable[..., tuple[dict[str, torch.Tensor], list[Event]]]
pytestmark = pytest.mark.usefixtures("tiny")
SETTINGS = (
    "regions={a: {data: x}, b: {data: x}}",
    "image={size: 16, channels: 1}",
    "student.backbone=tiny_resnet",
    "foundation.backbone=tiny_resnet",
    "train.epochs=3",
    "train.batch_size=8",
    "train.accelerator=cpu",
    "cache.enabled=true",
    "train.augment=null",
)


@pytest.fixture(scope="module")
def parts() -> Parts:
    """Random pictures: 8 to train on and 4 to validate, in each of two regions."""
    config = default_config(overrides=SETTINGS)
    return {
        part: {name: drawn(config, name, count, seed) for seed, name in enumerate(("a", "b"))}
        for part, count in {"train": 8, "val": 4}.items()
    }


@pytest.fixture(scope="module")
def masked(parts: Parts) -> Parts:
    """The same pictures, those of region b with masks."""
    region = Region(name="b", classes=("x",), task="segmentation")
    return {
        part: {**both, "b": replace(both["b"], region=region, masks=(both["b"].stored[:, 0] > 0.5).astype(np.uint8))}
        for part, both in parts.items()
    }


def drawn(config: Config, name: str, count: int, seed: int) -> PreparedRegion:
    stored = np.random.default_rng([seed, count]).random((count, 1, 16, 16), dtype=np.float32)
    names = tuple(f"{name}{index}" for index in range(count))
    return PreparedRegion(
        region=Region(name=name, classes=("x", "y")),
        recipe=build_recipe(config.image, config.regions[name]),
        stored=stored,
        labels=np.arange(count) % 2,
        groups=names,
        ids=names,
        digests=tuple(digest_bytes(image.tobytes()) for image in stored),
    )


@pytest.fixture
def train(parts: Parts, masked: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Train a method: `train("rd", *settings, cached=False, place="a", until=Saved)`; features lie in one place."""
    pictures = {False: parts, True: masked}
    monkeypatch.setattr(OptimizerStep, "keep_features", lambda *_: None)  # it has its own test

    def run(
        method: str,
        *settings: str,
        cached: bool = True,
        place: str = "",
        until: Callable[[Event], bool] = lambda event: False,
        weights: int = 1,
        masks: bool = False,
    ) -> tuple[dict[str, torch.Tensor], list[Event]]:
        config = default_config(overrides=[*SETTINGS, *settings], method=method)
        names, parts = ("b",) if method in ("rd", "drd") else ("a", "b"), pictures[masks]
        regions = RegionSet(parts["train"][name].region for name in names)
        train_parts, val_parts = ({name: parts[part][name] for name in names} for part in ("train", "val"))
        teacher = foundation(config, regions, weights)
        torch.manual_seed(config.seed)
        module = get_method(method).build(config, regions, teacher)
        events: list[Event] = []
        root = tmp_path / "foundations"
        keeper = feature_cache_factory(config, train_parts, root, asked=True, on_event=events.append)
        phase = Phase(
            name=method,
            regions=regions,
            train=train_parts,
            val=val_parts,
            settings=config.train,
            seed=config.seed,
            directory=tmp_path / (place or f"{method}-{cached}"),
            cache_factory=keeper if cached else None,
        )
        going = fit(module, phase, launch(config.train), teachers=[teacher], resume=True)
        events += takewhile(lambda event: not until(event), going)
        return dict(module.state_dict()), events

    return run


def foundation(config: Config, regions: RegionSet, weights: int) -> Foundation:
    torch.manual_seed(weights)
    model = shared_network(config, config.foundation.backbone, regions).eval()
    heads = dict.fromkeys(regions.names, "own")
    return Foundation(model=model, backbone=config.foundation.backbone, regions=regions, heads=heads, image={})


def teacher_rows(events: list[Event]) -> list[dict[str, Any]]:
    assert isinstance(events[-1], Finished)
    return [row["teacher"] for row in events[-1].history]


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("rd", ()),
        ("rd", ("train.augment={views: 2}", "train.epochs=5", "foundation.backbone=tiny_resnet_wide")),
        ("drd", ("train.accumulate=2", "cache.budget=1")),
        ("drd", ("train.precision=bf16",)),
        ("lorkd", ("train.log_conflict=1", "train.epochs=4")),
    ],
)
def test_cached_and_uncached_training_end_with_the_same_bits(
    train: Train, method: str, settings: tuple[str, ...]
) -> None:
    plain, _ = train(method, *settings, cached=False)
    kept, events = train(method, *settings)
    assert_same(kept, plain)
    rows = teacher_rows(events)
    assert rows[0]["asked"]
    assert rows[0]["kept_bytes"] > 0
    assert rows[-1]["read"]
    assert not rows[-1]["asked"]
    again, later = train(method, *settings, place="again")  # now everything is there from the start
    assert_same(again, plain)
    assert not any(row["asked"] for row in teacher_rows(later))


@pytest.mark.parametrize(
    ("method", "settings"), [("lorkd", ()), ("mtl-kd", ("train.batch_size=2", "cache.dtype=bf16")), ("drd", ())]
)
def test_regions_of_different_tasks_keep_the_features_of_their_kind(
    train: Train, tmp_path: Path, method: str, settings: tuple[str, ...]
) -> None:
    first, events = train(method, *settings, masks=True)
    assert not teacher_rows(events)[-1]["asked"]
    again, _ = train(method, *settings, masks=True, place="again")
    assert_same(again, first)
    if not settings:
        plain, _ = train(method, cached=False, masks=True)
        assert_same(first, plain)
    shapes = [one["asked"]["features"]["shape"] for one in map(read_json, tmp_path.rglob("space.json"))]
    assert sorted(shapes) == ([[32, 16, 16]] if method == "drd" else [[8], [32, 16, 16]])


def test_rounded_features_are_rounded_in_every_epoch(train: Train) -> None:
    first, events = train("rd", "cache.dtype=bf16")
    second, _ = train("rd", "cache.dtype=bf16", place="again")
    plain, _ = train("rd", cached=False)
    assert_same(second, first)
    assert any(not torch.equal(value, plain[name]) for name, value in first.items())
    assert teacher_rows(events)[-1]["read"] == 8


def test_a_training_that_was_cut_off_goes_on_with_the_same_bits(train: Train, tmp_path: Path) -> None:
    plain, _ = train("rd", "train.batch_size=4", cached=False)
    saved = []

    def in_the_second_epoch(event: Event) -> bool:
        saved.append(isinstance(event, Saved))
        return any(saved) and isinstance(event, Step)

    train("rd", "train.batch_size=4", place="cut", until=in_the_second_epoch)
    torn = next((tmp_path / "foundations" / "features").glob("*/space.json")).parent / ".x.safetensors.part"
    torn.write_bytes(b"what a kill leaves")
    resumed, events = train("rd", "train.batch_size=4", place="cut")
    assert_same(resumed, plain)
    assert not teacher_rows(events)[-1]["asked"]


def test_another_teacher_finds_nothing_of_the_first(train: Train) -> None:
    train("rd")
    _, events = train("rd", place="other", weights=2)
    assert teacher_rows(events)[0]["read"] == 0


def test_methods_share_what_they_ask_alike(train: Train) -> None:
    train("lorkd")
    _, events = train("rd", place="rd")
    assert not any(row["asked"] for row in teacher_rows(events))


def test_the_budget_is_kept_before_anything_is_written(train: Train, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"8 images x 1 view x 0\.0 KiB in fp32 = 0\.0 MiB.*cache\.budget 0\.0001 MiB"):
        train("rd", "cache.budget=0.0001")
    assert not (tmp_path / "foundations").exists()


def test_other_features_under_the_same_name_are_refused(train: Train, tmp_path: Path) -> None:
    """As if code had changed what a teacher answers without anybody raising the revision."""
    train("rd")
    (path,) = (tmp_path / "foundations" / "features").glob("*/*.safetensors")
    tensors = load(path.read_bytes())
    data = save({**tensors, "features": tensors["features"] + 1}, metadata={"space": path.parent.name})
    path.unlink()
    (path.parent / f"{digest_bytes(data)[:32]}.safetensors").write_bytes(data)
    with pytest.raises(ArtifactError, match=r"has other features than the teacher returns now.*remove"):
        train("rd", place="again")


def test_the_speed_up_is_told_as_it_was_measured(train: Train) -> None:
    _, events = train("rd")
    texts = [event.text for event in events if isinstance(event, Notice)]
    assert "8 images x 1 view" in texts[0]
    assert "1 epoch with the teacher" in texts[-1]
    assert "2 epochs with stored features" in texts[-1]


def test_nodes_of_graphs_never_change_so_their_features_are_kept_without_views(tmp_path: Path) -> None:
    weights = []
    for name, cached in (("plain", False), ("cached", True)):
        config = graph_config(tmp_path, **{"method": "kd", "train.epochs": 5, "cache.enabled": cached})
        assert config.train.augment is not None  # the default, which images have
        found = train_run(config, out=tmp_path / name, foundations=tmp_path / "foundations")
        assert [row["read_epochs"] >= 2 for row in found.teacher_cache] == [True] * cached
        weights.append(load((found.run / "model.safetensors").read_bytes()))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0].keys() | weights[1].keys())
