from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from lorkit.decompose.config import default_config
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.training.loop.phase import Phase
from lorkit.decompose.training.training_data import TrainingData

REGIONS = RegionSet([Region(name=name, classes=("x", "y")) for name in ("a", "b")])
PARTS: dict[str, Any] = {part: {name: f"{part} {name}" for name in REGIONS.names} for part in ("train", "val")}


def test_a_phase_has_the_parts_of_its_regions_alone() -> None:
    config = default_config(overrides=["regions={a: {data: x}, b: {data: x}}", "seed=7"])
    data = TrainingData(regions=REGIONS, teacher={"train": {"a": "seen a", "b": "seen b"}}, **PARTS)  # type: ignore[dict-item]
    own = Phase.of("one", data, config, Path("work"), regions=RegionSet([REGIONS.get("b")]))
    assert (own.train, own.val, own.teacher_train) == ({"b": "train b"}, {"b": "val b"}, {"b": "seen b"})
    assert (own.directory, own.settings, own.seed) == (Path("work/one"), config.train, 7)
    whole = Phase.of("all", TrainingData(regions=REGIONS, **PARTS), config, Path("work"))
    assert (whole.regions, whole.train, whole.teacher_train) == (REGIONS, PARTS["train"], None)


def test_positive_labels_weigh_as_stated_or_as_many_negatives_as_there_are() -> None:
    table = np.array([[1, 0], [0, 0], [0, -1], [0, 1]])
    config = default_config(overrides=["regions={a: {data: x, pos_weight: auto}, b: {data: x, pos_weight: 2.5}}"])
    rows: Any = {name: SimpleNamespace(labels=table) for name in REGIONS.names}
    phase = Phase.of("one", TrainingData(regions=REGIONS, train=rows, val=rows), config, Path("work"))
    found = phase.loss_weights(torch.device("cpu"))
    assert {name: weight.tolist() for name, weight in found.items()} == {"a": [3.0, 2.0], "b": [2.5, 2.5]}


def test_the_shares_of_classes_are_those_of_the_training_part() -> None:
    regions = RegionSet([Region(name="a", classes=("x", "y")), Region(name="b", task="multilabel", classes=("x", "y"))])
    text = "regions={a: {data: x}, b: {data: x}}"
    rows: Any = {"a": SimpleNamespace(labels=np.array([0, 0, 0, 1])), "b": SimpleNamespace(labels=np.zeros((4, 2)))}
    data = TrainingData(regions=regions, train=rows, val={"a": None, "b": None})  # type: ignore[dict-item]
    phase = Phase.of("one", data, default_config(overrides=[text, "train.logit_adjustment=2"]), Path("work"))
    found = phase.logit_shifts(torch.device("cpu"))
    assert list(found) == ["a"]
    torch.testing.assert_close(found["a"], 2 * torch.tensor([0.75, 0.25]).log())
    assert len(phase.notices()) == 1
    plain = Phase.of("one", data, default_config(overrides=[text]), Path("work"))
    assert plain.logit_shifts(torch.device("cpu")) == {}
    assert plain.notices() == []
