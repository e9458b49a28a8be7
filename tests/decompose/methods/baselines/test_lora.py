"""LoRA on the foundation: what moves, what is merged, what it needs."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from small_methods import ONE, images, make_foundation, peft_only
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.errors import MissingRuntimeError
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.tasks.losses import total


@peft_only
@pytest.mark.parametrize("backbone", ["shufflenet_v2_x1_0", "vit_tiny", "resnet18"])
def test_lora_merges_into_original_classes_and_keys(backbone: str) -> None:
    config, foundation = make_foundation("lora.rank=3", backbone=backbone)
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
    config, foundation = make_foundation()
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
    config, _ = make_foundation()
    with pytest.raises(MissingRuntimeError, match=r'pip install "lorkit\[peft\]"'):
        get_method("lora").notices(config)


@peft_only
def test_a_frozen_backbone_has_nothing_to_fine_tune() -> None:
    config, foundation = make_foundation("train.layer_decay=0.5", "train.freeze_epochs=1")
    method = get_method("lora")
    assert [text.split(" has no effect")[0] for text in method.notices(config)] == [
        "train.layer_decay",
        "train.freeze_epochs",
    ]
    assert not method.build(config, ONE, foundation).backbone_parameters()
