"""The baselines of distillation: terms, who learns from what, and what is refused before training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from lorkit.decompose.config import default_config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.methods.distillation.base import DistillationModule
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


@pytest.mark.parametrize("method", TERMS)
def test_a_student_learns_and_the_foundation_does_not(
    make_distilled: Callable[..., Any], six_images: Batch, method: str
) -> None:
    _, module, foundation = make_distilled(method)
    before = {key: value.clone() for key, value in foundation.model.state_dict().items()}
    module.train()
    terms = module(six_images, module.query_teacher(foundation.model, six_images))
    assert set(terms) == {"ce", *TERMS[method]}
    assert all(set(row) == {"a"} and row["a"].isfinite() for row in terms.values())
    total({term: row for term, row in terms.items() if term != "ce"}).backward()
    first = module.live.backbone.get_parameter("conv1.weight").grad
    assert first is not None
    assert first.abs().max() > 0
    assert all(value.grad is None for value in foundation.model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in foundation.model.state_dict().items())


@pytest.mark.parametrize("method", TERMS)
def test_what_is_switched_off_is_announced_and_absent(
    make_distilled: Callable[..., Any], six_images: Batch, method: str
) -> None:
    config, module, foundation = make_distilled(method, *OFF[method])
    assert set(module(six_images, module.query_teacher(foundation.model, six_images))) == {"ce"}
    assert len(get_method(method).notices(config)) == len(OFF[method])
    assert get_method(method).notices(make_distilled(method)[0]) == []


@pytest.mark.parametrize("method", TERMS)
def test_without_a_foundation_it_refuses(make_distilled: Callable[..., Any], method: str) -> None:
    config, _, _ = make_distilled(method)
    with pytest.raises(UsageError, match="distillation without a foundation"):
        get_method(method).build(config, ONE, None)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("layer", ["grid", "pooled"])
@pytest.mark.parametrize("method", TERMS)
def test_maps_are_distilled_too(method: str, layer: str) -> None:
    if layer == "pooled" and method not in ("fitnet", "sp"):
        pytest.skip("has no layer to choose")
    region = RegionSet([Region(name="a", task="segmentation", classes=("vessel",))])
    small = ("image.size=16", "student.backbone=tiny_resnet", "foundation.backbone=tiny_resnet_wide")
    settings = (f"fitnet.layer={layer}", f"sp.layer={layer}")
    config = default_config(overrides=["regions={a: {data: x}}", *small, *settings], method=method)
    name = config.foundation.backbone
    model = shared_network(config, name, region).eval().requires_grad_(False)
    foundation = Foundation(model=model, backbone=name, regions=region, heads={"a": "own"}, image={}, source={})
    module = get_method(method).build(config, region, foundation)
    masks = torch.randint(2, (4, 16, 16), generator=torch.Generator().manual_seed(0))
    given = Batch(torch.rand(4, 1, 16, 16), masks, torch.zeros(4, dtype=torch.int64), torch.arange(4))
    loss = total(module(given, module.query_teacher(model, given)))
    loss.backward()
    assert loss.isfinite()


@pytest.mark.parametrize("method", ["fitnet", "sp"])
def test_pooled_features_need_no_stages(make_distilled: Callable[..., Any], six_images: Batch, method: str) -> None:
    _, module, foundation = make_distilled(method, f"{method}.layer=pooled")
    assert isinstance(module, DistillationModule)
    answer = module.query_teacher(foundation.model, six_images)
    assert answer.grids == ()
    assert set(module(six_images, answer)) == {"ce", *TERMS[method]}


@pytest.mark.parametrize("method", ["fitnet", "sp"])
def test_a_foundation_without_stages_is_refused_before_training(
    make_distilled: Callable[..., Any], method: str
) -> None:
    config, _, foundation = make_distilled(method)

    class Other(nn.Module):
        feature_dim, head_name = 4, "fc"

    foundation.model.backbone = Other()
    with pytest.raises(UsageError, match="Other has no known stages"):
        get_method(method).build(config, ONE, foundation)


@pytest.mark.parametrize(("method", "fewest"), [("rkd", 3), ("sp", 2), ("dist", 2), ("cka", 4)])
def test_micro_batches_that_thin_relations_out_are_announced_or_refused(
    make_distilled: Callable[..., Any], method: str, fewest: int
) -> None:
    one, _, _ = make_distilled(method, "train.batch_size=32", "train.accumulate=4")
    assert "leaves 8 of 32" in get_method(method).notices(one)[0]
    if fewest > 2:
        small, _, _ = make_distilled(method, f"train.batch_size={2 * (fewest - 1)}", "train.accumulate=2")
        with pytest.raises(UsageError, match=f"{fewest} samples or more in a micro-batch"):
            get_method(method).notices(small)
    assert get_method("kd").notices(one) == [], "it looks at each sample by itself"
