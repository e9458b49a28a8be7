"""The plan of a training, from shapes and counts alone."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lorkit.decompose.config import default_config
from lorkit.decompose.data import Splits
from lorkit.decompose.documents.training import Plan
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods import get_method
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.training.plan import plan_training

REGIONS = RegionSet([Region(name="a", classes=("x", "y")), Region(name="b", classes=("x", "y", "z"))])
SIZES = {"a": {"train": 40, "val": 8, "test": 8}, "b": {"train": 24, "val": 8, "test": 8}}


def plan(method: str, *settings: str) -> Plan:
    tiny = ("regions={a: {data: x}, b: {data: x}}", "foundation.backbone=tiny", "student.backbone=tiny")
    config = default_config(overrides=[*tiny, "train.batch_size=8", "train.epochs=3", *settings], method=method)
    splits = Splits({name: {part: np.arange(size) for part, size in parts.items()} for name, parts in SIZES.items()})
    found = plan_training(config, get_method(method), REGIONS, splits)
    assert Plan.model_validate_json(json.dumps(found.to_json())) == found, "the document states it as it is"
    return found


@pytest.mark.usefixtures("tiny")
def test_a_shared_student_is_one_phase_of_all_regions() -> None:
    found = plan("lorkd", "foundation.epochs=5")
    assert found.regions == SIZES
    assert [phase.region_names for phase in found.phases] == [["a", "b"]]
    assert found.phases[0].epochs == 3
    assert (found.foundation.epochs, found.foundation.weights) == (5, None)
    assert found.foundation.steps_per_epoch == found.phases[0].steps_per_epoch == 8
    assert found.student.parameters == found.foundation.parameters > 0
    assert found.expert_layers
    assert found.expert_mac_overhead > 0
    assert found.rehearsal is found.teacher_cache is None


@pytest.mark.usefixtures("tiny")
def test_a_method_with_an_adapter_trains_each_region_twice() -> None:
    assert [phase.region_names for phase in plan("lora-kd").phases] == [["a"], ["a"], ["b"], ["b"]]


@pytest.mark.usefixtures("tiny")
def test_a_cache_above_its_budget_is_refused() -> None:
    cached = ("cache.enabled=true", "train.augment=null")
    found = plan("kd", *cached).teacher_cache
    assert found is not None
    assert found.images == 64
    with pytest.raises(UsageError, match="the teacher's features would take 64 images"):
        plan("kd", *cached, "cache.budget=0.0001")


@pytest.mark.usefixtures("tiny")
def test_a_rehearsal_is_of_reprogramming_alone() -> None:
    found = plan("rd").rehearsal
    assert found is not None
    assert len(found.stages) == 1


@pytest.mark.usefixtures("tiny")
def test_a_router_states_its_share_of_the_backbone() -> None:
    found = plan("mola-router", "student.backbone=resnet18", "mola.adapters=3", "image.size=64").routing
    assert found is not None
    assert (found.adapters, found.reads) == (3, [64, 16, 16])
    assert 0 < found.share_of_backbone < 0.05
    assert found.macs == 64 * 32 * 16 + 32 * 16 * 64  # a 1 x 1 convolution on 4 x 4 positions, and a linear layer
    assert found.layer_count == 15
    assert plan("mola-grad", "student.backbone=resnet18").routing is None
