"""Pre-distillation: the hint on features of one length, no label in it, and where it is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from small_methods import REGIONS, images, make_foundation

from lorkit.decompose.config import Config, with_overrides
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods import METHODS, get_method
from lorkit.decompose.methods.distillation.predistillation import (
    build_predistilled,
    check_predistillation,
    even,
    start_from,
)
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.foundation.model import Foundation, with_regions
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.regions import Region, RegionSet


@pytest.fixture
def setting() -> tuple[Config, Foundation, Any, Batch]:
    config, foundation = make_foundation("student.backbone=tiny_resnet", "image.channels=1")
    module = build_predistilled(config, config.train, REGIONS, foundation).double()
    batch = Batch(
        image=images(6),
        label=torch.tensor([0, 1, 0, 2, 1, 0]),
        region=torch.tensor([0, 0, 1, 1, 1, 1]),
        sample=torch.arange(6),
    )
    return config, foundation, module, batch


@pytest.mark.usefixtures("tiny")
def test_the_hint_is_the_squared_error_of_a_map_to_features_of_one_length(
    setting: tuple[Config, Foundation, Any, Batch],
) -> None:
    _, foundation, module, batch = setting
    module.eval()
    terms = module(batch, module.query_teacher(foundation.model, batch))
    assert set(terms) == {"hint"}
    with torch.no_grad():
        ours, theirs = (
            torch.cat([one.features(batch.image[rows], name) for name, rows in (("a", slice(2)), ("b", slice(2, 6)))])
            for one in (module.live, foundation.model)
        )
    (found,) = module.regressors.values()
    weight, bias, x, g = (value.detach().numpy() for value in (found.weight, found.bias, ours, theirs))
    goal = g * np.sqrt(g.shape[1] / (g * g).sum(1, keepdims=True))
    np.testing.assert_allclose((goal**2).mean(1), 1.0)
    square_N = ((x @ weight.T + bias - goal) ** 2).mean(1)
    np.testing.assert_allclose(terms["hint"]["a"].item(), square_N[:2].sum() / 6, rtol=1e-6)
    np.testing.assert_allclose(terms["hint"]["b"].item(), square_N[2:].sum() / 6, rtol=1e-6)


@pytest.mark.usefixtures("tiny")
def test_labels_and_heads_have_no_part_in_it(setting: tuple[Config, Foundation, Any, Batch]) -> None:
    config, foundation, module, batch = setting
    module.eval()
    unknown = batch._replace(label=torch.full((6,), -1), weight=torch.zeros(6))
    values = [
        {name: value.item() for name, value in module(one, module.query_teacher(foundation.model, one))["hint"].items()}
        for one in (batch, unknown)
    ]
    assert values[0] == values[1]
    assert not any(value.requires_grad for value in module.live.heads.parameters())
    trained = [value for group in module.parameter_groups(config.train) for value in group["params"]]
    assert len(trained) == len(list(module.live.backbone.parameters())) + 2


def test_even_features_have_a_mean_square_of_one_at_every_position() -> None:
    maps = torch.randn(2, 5, 3, 4) * torch.tensor([1e-3, 1e3])[:, None, None, None]
    torch.testing.assert_close(even(maps).square().mean(1), torch.ones(2, 3, 4))
    assert not even(torch.zeros(2, 5)).any()


def test_regions_with_and_without_masks_have_a_map_each_and_start_from_their_part() -> None:
    regions = RegionSet([Region(name="a", classes=("x", "y")), Region(name="c", classes=("o",), task="segmentation")])
    config, _ = make_foundation("student.backbone=unet", "image.channels=1", "foundation.backbone=unet")
    torch.manual_seed(1)
    network = build_backbone("unet", channels=1, image_size=(16, 16), dense=True)
    model = RegionalModel(network, regions, mean=(0.5,), std=(0.25,)).eval()
    heads = dict.fromkeys(regions.names, "own")
    foundation = Foundation(model=model, backbone="unet", regions=regions, heads=heads, image={})
    module = build_predistilled(config, config.train, regions, foundation)
    assert set(module.regressors) == {"pooled", "maps"}
    batch = Batch(
        image=images(4).float(),
        label=torch.zeros(4, 256, dtype=torch.int64),
        region=torch.tensor([0, 0, 1, 1]),
        sample=torch.arange(4),
    )
    terms = module(batch, module.query_teacher(foundation.model, batch))["hint"]
    assert set(terms) == {"a", "c"}
    idle = {id(value) for value in module.idle_parameters({"a"})}
    assert {id(value) for value in module.regressors["maps"].parameters()} < idle
    for name in regions.names:
        members = RegionSet([regions.get(name)])
        student = get_method("stl-kd").build(config, members, with_regions(foundation, members))
        start_from(student, module.live.backbone)
        x = images(2).float()
        with torch.no_grad():
            expected = module.eval().live.features(x, name)
            assert torch.equal(student.eval().live.features(x, name), expected)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_it_is_for_methods_with_a_teacher_and_a_student_per_region(name: str) -> None:
    method, (config, _) = METHODS[name], make_foundation()
    check_predistillation(config, method)  # off
    asked = with_overrides(config, ["student.predistil.epochs=2"])
    taught = {"rd", "drd", "stl-kd", "kd", "lora-kd", "finetune-kd", "fitnet", "rkd", "sp", "dist", "cka", "skd", "cwd"}
    if name in taught:
        check_predistillation(asked, method)
        return
    with pytest.raises(UsageError, match=r"^student\.predistil\.epochs (with method|for graphs)") as caught:
        check_predistillation(asked, method)
    assert "\n" not in str(caught.value)
    assert name not in {"lorkd", "mtl-kd"} or "learns from the images of all regions already" in str(caught.value)
