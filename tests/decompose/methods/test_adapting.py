"""Methods that adapt the foundation itself, and the distillation that students share."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lorkit.decompose.config import Config, default_config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.errors import MissingRuntimeError, UsageError
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.baselines.finetune import continued
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.methods.distillation.feature_and_logit import DistillingModule
from lorkit.decompose.models.foundation.model import Foundation, with_regions
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


def test_a_narrowed_foundation_answers_for_its_own_numbers() -> None:
    _, foundation = make()
    one = with_regions(foundation, ONE)
    expected = foundation.model(images(), "b").logits["b"]
    assert torch.equal(one.model(images(), torch.zeros(4, dtype=torch.int64)).logits["b"], expected)
    assert (one.regions.names, dict(one.heads), one.source) == (("b",), {"b": "probe"}, {"x": 1})
    assert one.model.backbone is foundation.model.backbone, "the weights are shared"
    assert with_regions(foundation, REGIONS) is foundation
    with pytest.raises(UsageError, match="c"):
        with_regions(foundation, RegionSet([Region(name="c", classes=("x", "y"))]))


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


@pytest.mark.parametrize("name", ["mtl-kd", "stl-kd"])
def test_students_are_distilled_by_the_terms_of_lorkd(name: str) -> None:
    config, foundation = make()
    regions = torch.zeros(4, dtype=torch.int64)
    batch = Batch(image=images(), label=torch.tensor([0, 1, 1, 0]), region=regions, sample=torch.arange(4))
    first = RegionSet([REGIONS.get("a")])
    teacher = with_regions(foundation, first)
    student = get_method(name).build(config, first, teacher).double().eval()
    answers = teacher.model(batch.image, batch.region)
    terms = student(batch, answers)
    assert set(terms) == {"ce", "feature_kd", "projector", "logit_kd"}
    assert isinstance(student, DistillingModule), "one implementation for all"
    assert "logit_kd" not in get_method(name).build(config, ONE, with_regions(foundation, ONE)).double()(
        batch, with_regions(foundation, ONE).model(batch.image, batch.region)
    ), "a probe is nothing that the foundation knew"
    off, _ = make("lorkd.feature_kd.weight=0")
    assert len(get_method(name).notices(off)) == 1
