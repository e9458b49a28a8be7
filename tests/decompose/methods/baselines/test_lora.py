"""LoRA on the foundation: what moves, what is merged, what it needs."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lorkit.decompose.config import Config, default_config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.errors import MissingRuntimeError
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.tasks.losses import total

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


@peft_only
@pytest.mark.parametrize("backbone", ["shufflenet_v2_x1_0", "vit_tiny", "resnet18"])
def test_lora_merges_into_original_classes_and_keys(backbone: str) -> None:
    config, foundation = make("lora.rank=3", backbone=backbone)
    module = get_method("lora").build(config, ONE, foundation).double().eval()
    for name, parameter in module.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.05)
    moving = {
        key.rsplit(".", 3)[-3] if "lora" in key else key for key, p in module.named_parameters() if p.requires_grad
    }
    assert moving == {"lora_A", "lora_B", "live.heads.b.weight", "live.heads.b.bias"}
    adapted = module.live(images(), "b").logits["b"]
    assert (adapted - foundation.model(images(), "b").logits["b"]).abs().max() > 1e-6
    live = module.finished()
    torch.testing.assert_close(live(images(), "b").logits["b"], adapted)
    fresh = shared_network(config, backbone, ONE)
    assert list(live.state_dict()) == list(fresh.state_dict())
    assert [type(part) for part in live.modules()] == [type(part) for part in fresh.modules()]


@peft_only
def test_lora_leaves_the_frozen_foundation_as_it_is() -> None:
    config, foundation = make()
    module = get_method("lora").build(config, ONE, foundation).double().train()
    norms = [part for part in module.live.backbone.modules() if isinstance(part, _BatchNorm)]
    assert norms
    assert not any(norm.training for norm in norms)
    region = torch.zeros(4, dtype=torch.int64)
    batch = Batch(image=images(), label=torch.tensor([0, 1, 2, 0]), region=region, sample=torch.arange(4))
    with module.live.scope(region):
        total(module(batch, None)).backward()
    grads = {key for key, parameter in module.named_parameters() if parameter.grad is not None}
    assert grads == {key for key, parameter in module.named_parameters() if parameter.requires_grad}


def test_without_peft_lora_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    config, _ = make()
    with pytest.raises(MissingRuntimeError, match=r'pip install "lorkit\[peft\]"'):
        get_method("lora").notices(config)
