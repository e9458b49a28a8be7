"""Fine-tuning starts from the foundation, or from any model, without touching it."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import nn

from lorkit.decompose.config import Config, default_config
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.baselines.finetune import continued
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.regions import Region, RegionSet

REGIONS = RegionSet([Region(name="a", classes=("x", "y")), Region(name="b", classes=("x", "y", "z"))])
ONE = RegionSet([REGIONS.get("b")])
peft_only = pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="the extra 'peft' is not installed")


def make(*settings: str, backbone: str = "shufflenet_v2_x1_0") -> tuple[Config, Foundation]:
    small = ("image.size=16", "student.backbone=shufflenet_v2_x1_0", f"foundation.backbone={backbone}")
    config = default_config(overrides=["regions={a: {data: x}, b: {data: x}}", *small, *settings])
    torch.manual_seed(0)
    model = shared_network(config, backbone, REGIONS).double().eval().requires_grad_(False)
    heads = {"a": "own", "b": "probe"}
    return config, Foundation(model=model, backbone=backbone, regions=REGIONS, heads=heads, image={}, source={"x": 1})


def images(count: int = 4) -> torch.Tensor:
    return torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("name", ["finetune", "linear-probe", pytest.param("lora", marks=peft_only)])
def test_the_start_is_the_foundation_itself(name: str) -> None:
    config, foundation = make()
    module = get_method(name).build(config, ONE, foundation).double().eval()
    expected = foundation.model(images(), "b").logits["b"]
    torch.testing.assert_close(module.live(images(), "b").logits["b"], expected)
    assert not any(parameter.requires_grad for parameter in foundation.model.parameters())


def test_what_may_move() -> None:
    config, foundation = make()
    moving = {}
    for name in ("finetune", "linear-probe"):
        module = get_method(name).build(config, ONE, foundation)
        moving[name] = [key for key, parameter in module.named_parameters() if parameter.requires_grad]
        assert len(moving["finetune"]) == len(list(module.parameters()))
    assert moving["linear-probe"] == ["live.heads.b.weight", "live.heads.b.bias"]
    assert [phase.names for phase in get_method("finetune").phases(REGIONS)] == [("a",), ("b",)]


def test_fine_tuning_continues_from_any_model_without_touching_it() -> None:
    config, _ = make()
    start = shared_network(config, "resnet18", ONE).requires_grad_(False)
    copy = continued(start)
    assert all(parameter.requires_grad for parameter in copy.parameters())
    nn.init.zeros_(copy.heads["b"].weight)  # type: ignore[arg-type]
    assert start.heads["b"].weight.any()  # type: ignore[union-attr, operator]
