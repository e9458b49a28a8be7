"""Regions of masks, classes and labels in one model: each gets the features of its kind, for its rows alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from lorkit.decompose.config import ExpertConfig, default_config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts import add_experts_, factor_parameters
from lorkit.decompose.models.backbones.outputs import decoder_parameters
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.foundation.model import on_same_backbone
from lorkit.decompose.models.region_features import idle_parameters, joined
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.models.routed import build_routed
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.training.loop.recomputing import recomputed

REGIONS = RegionSet(
    [
        Region(name="grade", classes=("low", "high")),
        Region(name="mask", classes=("lesion",), task="segmentation"),
        Region(name="signs", classes=("a", "b", "c"), task="multilabel"),
        Region(name="organ", classes=("left", "right"), task="segmentation"),
    ]
)
IDS = torch.tensor([2, 0, 1, 3, 2, 1, 0])
TWICE = IDS.repeat(2)
OUTPUTS = {"grade": (2,), "mask": (2, 16, 16), "signs": (3,), "organ": (3, 16, 16)}


def model_of(backbone: str, regions: RegionSet = REGIONS, *, experts: bool = True) -> RegionalModel:
    torch.manual_seed(0)
    network = build_backbone(backbone, channels=1, image_size=(16, 16), dense=True)
    routing = add_experts_(network, regions.names, ExpertConfig(rank=2)) if experts else None
    model = RegionalModel(network, regions, mean=[0.5], std=[0.25], routing=routing)
    for parameter in factor_parameters(model):
        nn.init.normal_(parameter, std=0.05)
    return model.double().eval()


def images(count: int = len(IDS)) -> Tensor:
    return torch.rand(count, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("experts", [True, False])
@pytest.mark.parametrize("backbone", ["resnet18", "unet", "vit_tiny"])
def test_each_row_gets_what_the_plain_network_of_its_region_gives(backbone: str, experts: bool) -> None:
    model, image = model_of(backbone, experts=experts), images()
    with torch.no_grad():
        output = model(image, IDS)
        assert list(output.logits) == list(REGIONS.names)
        for index, region in enumerate(REGIONS.names):
            rows = output.rows[region]
            assert rows.tolist() == (index == IDS).nonzero().flatten().tolist()
            assert tuple(output.logits[region].shape[1:]) == OUTPUTS[region]
            torch.testing.assert_close(model.deployable(region)(image[rows]), output.logits[region])
            torch.testing.assert_close(model(image[rows], region).logits[region], output.logits[region])
            assert output.features[region].shape[1] == model.feature_width(region)
    again = model.classify_features(output.features, IDS)
    assert all(torch.equal(again.logits[name], output.logits[name]) for name in REGIONS.names)


def test_the_network_of_classes_is_the_ordinary_one_or_has_no_decoder() -> None:
    plain = {name: model_of("resnet18").plain_network(name) for name in ("grade", "mask")}
    assert "layer1.0.conv1.weight" in plain["grade"].state_dict()
    assert "network.layer1.0.conv1.weight" in plain["mask"].state_dict()
    model = model_of("unet")
    grade, mask = (model.plain_network(name).state_dict() for name in ("grade", "mask"))
    decoder = {
        name for name, _ in decoder_parameters(build_backbone("unet", channels=1, image_size=(16, 16), dense=True))
    }
    assert decoder <= mask.keys()
    assert not decoder & grade.keys()
    assert grade.keys() - {"head.weight", "head.bias"} < mask.keys()


def test_the_decoder_runs_on_the_rows_of_masks_alone() -> None:
    model, seen = model_of("unet"), []
    model.backbone.finish.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    with torch.no_grad():
        model(images(), IDS)
        model(images(2), torch.tensor([2, 0]))
        model(images(3), "organ")
    assert seen == [3, 3]


@pytest.mark.parametrize("backbone", ["unet", "resnet18"])
def test_blocks_run_again_in_backward_with_the_rows_they_had(backbone: str) -> None:
    gradients = []
    for again in (False, True):
        model = model_of(backbone).train()
        with model.scope(TWICE):
            if again:
                with recomputed(model.backbone):
                    _loss(model).backward()
            else:
                _loss(model).backward()
        gradients.append({name: one.grad for name, one in model.named_parameters() if one.grad is not None})
    assert len(gradients[0]) > 20
    torch.testing.assert_close(gradients[0], gradients[1])


def _loss(model: RegionalModel) -> Tensor:
    return torch.stack([value.square().mean() for value in model(images(14), TWICE).logits.values()]).sum()


@pytest.mark.parametrize("rows", [[0, 2], [1, 3], [0, 1, 2, 3], [3]])
def test_idle_parameters_are_those_without_a_gradient(rows: list[int]) -> None:
    model = model_of("unet")
    present = [REGIONS.names[row] for row in rows]
    output = model(images(2 * len(rows)), torch.tensor(rows).repeat(2))
    torch.stack([value.square().sum() for value in output.logits.values()]).sum().backward()
    idle = {id(one) for one in idle_parameters(model.backbone, REGIONS, present)}
    decoder = decoder_parameters(model.backbone)
    assert {name for name, one in decoder if one.grad is None} == {name for name, one in decoder if id(one) in idle}


@pytest.mark.parametrize("router", ["features", "image"])
@pytest.mark.parametrize("backbone", ["unet", "resnet18"])
def test_a_decoder_mixes_adapters_by_the_gates_of_its_rows(backbone: str, router: str) -> None:
    regions = "regions={" + ", ".join(f"{name}: {{data: x}}" for name in REGIONS.names) + "}"
    shapes = ("image={size: 16, channels: 1}", f"mola.router={router}", "mola.gates=stage", "mola.adapters=3")
    config = default_config(overrides=[regions, *shapes, f"student.backbone={backbone}"])
    torch.manual_seed(0)
    network = build_backbone(backbone, channels=1, image_size=(16, 16), dense=True)
    model = build_routed(config, REGIONS, network, None).double().eval()
    for parameter in factor_parameters(model):
        nn.init.normal_(parameter, std=0.3)
    nn.init.normal_(model.gating.scores.weight, std=3.0)
    with torch.no_grad():
        output, every = model.routed(images(), IDS), model.every_head(images())
    assert output.gating.gates.std(0).max() > 0.05, "rows have different gates"
    torch.testing.assert_close(output.gating.gates, every.gating.gates)
    for name, rows in output.heads.rows.items():
        torch.testing.assert_close(output.heads.logits[name], every.logits[name][rows])


def test_features_are_of_one_kind() -> None:
    model, image = model_of("unet"), images(2)
    assert model.features(image, torch.tensor([2, 0])).shape == (2, 256)
    assert model.features(image, torch.tensor([3, 1])).shape == (2, 32, 16, 16)
    with pytest.raises(UsageError, match="a batch of regions with masks and others"):
        model.features(image, torch.tensor([0, 1]))


def test_a_model_of_fewer_regions_shares_the_layers_that_they_need() -> None:
    whole = model_of("unet", experts=False)
    regions = RegionSet([REGIONS[0]])
    part = on_same_backbone(whole, regions, {"grade": whole.heads["grade"]})
    image = images(2)
    torch.testing.assert_close(part(image, "grade").logits["grade"], whole(image, "grade").logits["grade"])
    assert not decoder_parameters(part.backbone)
    whole.backbone.model[0].conv.unit0.conv.weight.data += 1  # not copied
    torch.testing.assert_close(part(image, "grade").logits["grade"], whole(image, "grade").logits["grade"])
    twin = copy.deepcopy(part)
    assert twin.backbone.state_dict().keys() == part.backbone.state_dict().keys()
    with pytest.raises(UsageError, match="a U-Net without its decoder"):
        on_same_backbone(part, REGIONS, {})


def test_slices_are_joined_where_they_touch() -> None:
    assert joined([slice(0, 2), slice(2, 5), slice(6, 7)]) == [slice(0, 5), slice(6, 7)]
