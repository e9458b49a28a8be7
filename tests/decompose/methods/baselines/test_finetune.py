"""Fine-tuning starts from the foundation, or from any model, without touching it."""

from __future__ import annotations

import pytest
import torch
from small_methods import ONE, REGIONS, images, make_foundation, peft_only
from torch import nn

from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.baselines.finetune import continued
from lorkit.decompose.methods.baselines.students import shared_network


@pytest.mark.parametrize("name", ["finetune", "linear-probe", pytest.param("lora", marks=peft_only)])
def test_the_start_is_the_foundation_itself(name: str) -> None:
    config, foundation = make_foundation()
    module = get_method(name).build(config, ONE, foundation).double().eval()
    expected = foundation.model(images(), "b").logits["b"]
    torch.testing.assert_close(module.live(images(), "b").logits["b"], expected)
    assert not any(parameter.requires_grad for parameter in foundation.model.parameters())


def test_what_may_move() -> None:
    config, foundation = make_foundation()
    moving = {}
    for name in ("finetune", "linear-probe"):
        module = get_method(name).build(config, ONE, foundation)
        moving[name] = [key for key, parameter in module.named_parameters() if parameter.requires_grad]
        assert len(moving["finetune"]) == len(list(module.parameters()))
    assert moving["linear-probe"] == ["live.heads.b.weight", "live.heads.b.bias"]
    assert [phase.names for phase in get_method("finetune").phases(REGIONS)] == [("a",), ("b",)]


def test_fine_tuning_continues_from_any_model_without_touching_it() -> None:
    config, _ = make_foundation()
    start = shared_network(config, "resnet18", ONE).requires_grad_(False)
    copy = continued(start)
    assert all(parameter.requires_grad for parameter in copy.parameters())
    nn.init.zeros_(copy.heads["b"].weight)  # type: ignore[arg-type]
    assert start.heads["b"].weight.any()  # type: ignore[union-attr, operator]
