"""Trainings that keep the teacher's features in memory against the same without, bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lorkit.decompose.artifacts import digest_bytes
from lorkit.decompose.config import default_config
from lorkit.decompose.data import PreparedRegion
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.events import Finished
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.training.feature_cache import memory
from lorkit.decompose.training.loop.devices import launch
from lorkit.decompose.training.loop.epochs import fit
from lorkit.decompose.training.loop.phase import Phase
from lorkit.decompose.training.loop.step import OptimizerStep

pytestmark = pytest.mark.usefixtures("tiny")
SETTINGS = (
    "regions={a: {data: x}, b: {data: x}}",
    "image={size: 16, channels: 1}",
    "student.backbone=tiny_resnet",
    "foundation.backbone=tiny_resnet",
    "train.epochs=3",
    "train.batch_size=8",
    "train.accelerator=cpu",
    "train.augment=null",
)
Train = Callable[..., tuple[dict[str, torch.Tensor], int]]


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """Train LoRKD on 24 random pictures of each of two regions, and return its weights and the teacher's batches."""

    def run(
        *settings: str, place: str, backbone: str = "tiny_resnet", dense: tuple[bool, ...] = (False, False)
    ) -> tuple[dict[str, torch.Tensor], int]:
        config = default_config(overrides=[*SETTINGS, *settings], method="lorkd")
        parts: dict[str, PreparedRegion] = {}
        for seed, name in enumerate(("a", "b")):
            stored = np.random.default_rng(seed).random((24, 1, 16, 16), dtype=np.float32)
            names = tuple(f"{name}{index}" for index in range(24))
            parts[name] = PreparedRegion(
                region=Region(name=name, classes=("x", "y")),
                recipe=build_recipe(config.image, config.regions[name]),
                stored=stored,
                labels=np.arange(24) % 2,
                groups=names,
                ids=names,
                digests=tuple(digest_bytes(image.tobytes()) for image in stored),
            )
        regions = RegionSet(one.region for one in parts.values())
        torch.manual_seed(1)
        model = shared_network(config, "tiny_resnet", regions).eval()
        model.dense = dense
        heads = dict.fromkeys(regions.names, "own")
        teacher = Foundation(model=model, backbone=backbone, regions=regions, heads=heads, image={})
        torch.manual_seed(0)
        module = get_method("lorkd").build(config, regions, teacher)
        batches: list[int] = []
        model.backbone.register_forward_hook(lambda *_: batches.append(1))
        phase = Phase(
            name="lorkd",
            regions=regions,
            train=parts,
            val={},
            settings=config.train,
            seed=0,
            directory=tmp_path / place,
        )
        *_, last = fit(module, phase, launch(config.train), teachers=[teacher])
        assert isinstance(last, Finished)
        assert all("teacher" not in row for row in last.history)
        return dict(module.state_dict()), len(batches)

    return run


@pytest.mark.parametrize("settings", [(), ("train.precision=bf16",), ("train.accumulate=2",)])
def test_the_teacher_answers_once_and_the_weights_stay_the_same(
    train: Train, monkeypatch: pytest.MonkeyPatch, settings: tuple[str, ...]
) -> None:
    kept, few = train(*settings, place="kept")
    monkeypatch.setattr(OptimizerStep, "keep_features", lambda *_: None)
    plain, many = train(*settings, place="plain")
    assert kept.keys() == plain.keys()
    assert all(torch.equal(value, plain[name]) for name, value in kept.items())
    assert many == 18 * (2 if settings == ("train.accumulate=2",) else 1)  # 3 epochs of 6 steps
    assert few == 1 + many // 3  # once more for the shapes


@pytest.mark.parametrize("settings", [("train.augment={}",), ("train.epochs=1",), ("train.accumulate=3",)])
def test_features_that_change_or_serve_once_are_not_kept(train: Train, settings: tuple[str, ...]) -> None:
    pieces = 3 if settings == ("train.accumulate=3",) else 1
    epochs = 1 if settings == ("train.epochs=1",) else 3
    assert train(*settings, place="a")[1] == 6 * epochs * pieces


def test_features_of_a_users_own_network_are_not_kept(train: Train) -> None:
    assert train(place="a", backbone="teacher:mine")[1] == 18


def test_features_of_a_decoder_that_gets_a_part_of_each_batch_are_not_kept(train: Train) -> None:
    assert train(place="a", dense=(False, True))[1] == 18


def test_many_features_are_not_kept(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST_BYTES", 48 * 4 * 8 - 1)  # 8 numbers of each of 48 pictures
    assert train(place="a")[1] == 1 + 18
    monkeypatch.setattr(memory, "MOST_BYTES", 48 * 4 * 8)
    assert train(place="b")[1] == 1 + 6
