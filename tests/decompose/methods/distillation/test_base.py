"""The baselines of distillation: terms, who learns from what, and what is refused before training."""

from __future__ import annotations

import importlib.util

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lorkit.decompose.config import Config, default_config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods import HasAdapter, TrainingModule, get_method
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.methods.distillation.base import DistillationModule
from lorkit.decompose.methods.distillation.fitnet import FitnetModule, Regressor, one_grid
from lorkit.decompose.methods.losses.cka import cka
from lorkit.decompose.methods.losses.relational import angle_loss, correlation_losses, distance_loss, similarity_loss
from lorkit.decompose.models.backbones.stage_adapters import staged
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.tasks.losses import total

ONE = RegionSet([Region(name="a", classes=("x", "y", "z"))])
TERMS = {
    "kd": {"kd"},
    "fitnet": {"hint"},
    "rkd": {"distance", "angle"},
    "sp": {"sp"},
    "dist": {"inter", "intra"},
    "cka": {"cka"},
}
OFF = {
    "kd": ("kd.weight=0",),
    "fitnet": ("fitnet.weight=0",),
    "rkd": ("rkd.distance=0", "rkd.angle=0"),
    "sp": ("sp.weight=0",),
    "dist": ("dist.inter=0", "dist.intra=0"),
    "cka": ("cka.weight=0",),
}


def make(method: str, *settings: str) -> tuple[Config, TrainingModule, Foundation]:
    """Return a method's module of a ShuffleNet under a ResNet, in float64 and eval."""
    small = ("image.size=32", "student.backbone=shufflenet_v2_x1_0", "foundation.backbone=resnet18")
    config = default_config(overrides=["regions={a: {data: x}}", *small, *settings], method=method)
    torch.manual_seed(0)
    model = shared_network(config, "resnet18", ONE).double().eval().requires_grad_(False)
    foundation = Foundation(model=model, backbone="resnet18", regions=ONE, heads={"a": "probe"}, image={}, source={})
    return config, get_method(method).build(config, ONE, foundation).double().eval(), foundation


def batch(count: int = 6) -> Batch:
    image = torch.rand(count, 1, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    region = torch.zeros(count, dtype=torch.int64)
    return Batch(image=image, label=torch.arange(count) % 3, region=region, sample=torch.arange(count))


@pytest.mark.parametrize("method", TERMS)
def test_a_student_learns_and_the_foundation_does_not(method: str) -> None:
    _, module, foundation = make(method)
    before = {key: value.clone() for key, value in foundation.model.state_dict().items()}
    module.train()
    terms = module(batch(), module.query_teacher(foundation.model, batch()))
    assert set(terms) == {"ce", *TERMS[method]}
    assert all(set(row) == {"a"} and row["a"].isfinite() for row in terms.values())
    total({term: row for term, row in terms.items() if term != "ce"}).backward()
    first = module.live.backbone.get_parameter("conv1.0.weight").grad
    assert first is not None
    assert first.abs().max() > 0
    assert all(value.grad is None for value in foundation.model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in foundation.model.state_dict().items())


@pytest.mark.parametrize("method", TERMS)
def test_what_is_switched_off_is_announced_and_absent(method: str) -> None:
    config, module, foundation = make(method, *OFF[method])
    assert set(module(batch(), module.query_teacher(foundation.model, batch()))) == {"ce"}
    assert len(get_method(method).notices(config)) == len(OFF[method])
    assert get_method(method).notices(make(method)[0]) == []


@pytest.mark.parametrize("method", TERMS)
def test_without_a_foundation_it_refuses(method: str) -> None:
    config, module, _ = make(method)
    with pytest.raises(UsageError, match="distillation without a foundation"):
        get_method(method).build(config, ONE, None)
    with pytest.raises(UsageError, match="distillation without a foundation"):
        module(batch(), None)


def test_terms_are_their_formulas_on_the_networks_outputs() -> None:
    given = batch()
    values = {}
    for method in TERMS:
        _, module, foundation = make(method, "kd.weight=0.5", "kd.temperature=2", "fitnet.weight=3")
        found = module(given, module.query_teacher(foundation.model, given))
        values |= {term: row["a"] for term, row in found.items()}
    teacher = foundation.model
    ours, theirs = (staged(model.backbone).run_stages(model.normalise(given.image)) for model in (module.live, teacher))
    z_s, z_t = module.live.heads["a"](ours.features), teacher.heads["a"](theirs.features)
    inter, intra = correlation_losses(z_s, z_t)
    soft = [F.log_softmax(logits / 2, dim=1) for logits in (z_s, z_t)]
    expected = {
        "ce": F.cross_entropy(z_s, given.label),
        "kd": 0.5 * 4 * (soft[1].exp() * (soft[1] - soft[0])).sum(1).mean(),
        "distance": 25 * distance_loss(ours.features, theirs.features),
        "angle": 50 * angle_loss(ours.features, theirs.features),
        "sp": 3000 * similarity_loss(ours.grids[-1], theirs.grids[-1]),
        "inter": 2 * inter,
        "intra": 2 * intra,
        "cka": -cka(ours.features, theirs.features),
    }
    for term, value in expected.items():
        torch.testing.assert_close(values[term], value, msg=lambda text, term=term: f"{term}: {text}")


def test_the_hint_is_a_regression_by_a_convolution_on_the_coarser_grid() -> None:
    given = batch()
    _, module, foundation = make("fitnet", "fitnet.weight=3")
    assert isinstance(module, FitnetModule)
    value = module(given, module.query_teacher(foundation.model, given))["hint"]["a"]
    ours, theirs = (
        staged(model.backbone).run_stages(model.normalise(given.image)).grids[-1]
        for model in (module.live, foundation.model)
    )
    weight = module.regressor.weight[:, :, None, None]
    expected = F.conv2d(ours, weight, module.regressor.bias)
    torch.testing.assert_close(value, 3 * (expected - theirs).square().mean())
    x, y = one_grid(torch.rand(2, 3, 4, 1), torch.rand(2, 5, 2, 8))
    assert (x.shape[2:], y.shape[2:]) == ((2, 1), (2, 1))
    volume = torch.rand(2, 3, 4, 4, 4)
    assert torch.equal(one_grid(volume, torch.rand(2, 5, 2, 2, 2))[0], F.avg_pool3d(volume, 2))
    assert Regressor(3, 5)(volume).shape == (2, 5, 4, 4, 4)


@pytest.mark.parametrize("layer", ["grid", "pooled"])
@pytest.mark.parametrize("method", TERMS)
def test_maps_are_distilled_too(method: str, layer: str) -> None:
    if layer == "pooled" and method not in ("fitnet", "sp"):
        pytest.skip("has no layer to choose")
    region = RegionSet([Region(name="a", task="segmentation", classes=("vessel",))])
    small = ("image.size=16", "student.backbone=shufflenet_v2_x1_0", "foundation.backbone=resnet18")
    settings = (f"fitnet.layer={layer}", f"sp.layer={layer}")
    config = default_config(overrides=["regions={a: {data: x}}", *small, *settings], method=method)
    model = shared_network(config, "resnet18", region).eval().requires_grad_(False)
    foundation = Foundation(model=model, backbone="resnet18", regions=region, heads={"a": "own"}, image={}, source={})
    module = get_method(method).build(config, region, foundation)
    masks = torch.randint(2, (4, 16, 16), generator=torch.Generator().manual_seed(0))
    given = Batch(torch.rand(4, 1, 16, 16), masks, torch.zeros(4, dtype=torch.int64), torch.arange(4))
    loss = total(module(given, module.query_teacher(model, given)))
    loss.backward()
    assert loss.isfinite()


@pytest.mark.parametrize("method", ["fitnet", "sp"])
def test_pooled_features_need_no_stages(method: str) -> None:
    _, module, foundation = make(method, f"{method}.layer=pooled")
    assert isinstance(module, DistillationModule)
    answer = module.query_teacher(foundation.model, batch())
    assert answer.grids == ()
    assert set(module(batch(), answer)) == {"ce", *TERMS[method]}


@pytest.mark.parametrize("method", ["fitnet", "sp"])
def test_a_foundation_without_stages_is_refused_before_training(method: str) -> None:
    config, _, foundation = make(method)

    class Other(nn.Module):
        feature_dim, head_name = 4, "fc"

    foundation.model.backbone = Other()
    with pytest.raises(UsageError, match="Other in stages"):
        get_method(method).build(config, ONE, foundation)


@pytest.mark.parametrize(("method", "fewest"), [("rkd", 3), ("sp", 2), ("dist", 2), ("cka", 4)])
def test_micro_batches_that_thin_relations_out_are_announced_or_refused(method: str, fewest: int) -> None:
    one, _, _ = make(method, "train.batch_size=32", "train.accumulate=4")
    assert "leaves 8 of 32" in get_method(method).notices(one)[0]
    if fewest > 2:
        small, _, _ = make(method, f"train.batch_size={2 * (fewest - 1)}", "train.accumulate=2")
        with pytest.raises(UsageError, match=f"{fewest} samples or more in a micro-batch"):
            get_method(method).notices(small)
    assert get_method("kd").notices(one) == [], "it looks at each sample by itself"


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="the extra 'peft' is not installed")
def test_lora_kd_names_who_makes_its_teacher() -> None:
    method = get_method("lora-kd")
    assert isinstance(method, HasAdapter)
    assert method.adapter.starts_from_foundation
    assert (method.uses_teacher, method.separate, method.starts_from_foundation) == (True, True, False)
    assert not isinstance(get_method("kd"), HasAdapter)
    config, _, _ = make("lora-kd", "kd.weight=0")
    assert method.notices(config) == ["kd.weight is 0: this term is off"]
