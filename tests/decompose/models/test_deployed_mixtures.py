"""Deployable networks of several regions against the live models, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from routed_models import make_routed, routed_batch
from settled_models import images, predictor_of, settled

from lorkit.decompose.config import default_config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts import factor_parameters
from lorkit.decompose.methods import TrainingModule, get_method
from lorkit.decompose.models.cost import count_macs
from lorkit.decompose.models.deployed_mixtures import region_id_network, require_picked, require_router, router_network
from lorkit.decompose.models.mixtures.rebuilding import describe_gated
from lorkit.decompose.models.regional import RegionalModel, SeparateModels
from lorkit.decompose.models.routed import RoutedModel
from lorkit.decompose.regions import Region, RegionSet


@pytest.mark.parametrize(
    ("method", "backbone", "settings"),
    [
        ("lorkd", "tiny", ()),
        ("lorkd", "tiny", ("lorkd.layout=reshape", "lorkd.norm=shared")),
        ("lorkd", "tiny_depthwise", ("lorkd.depthwise=true",)),
        ("mola-grad", "tiny_resnet", ("mola.rank=2", "mola.norm=statistics")),
        ("mola-grad", "shufflenet_v2_x1_0", ("mola.rank=2", "image.size=32")),
        ("mtl", "tiny", ()),
    ],
)
def test_a_region_id_picks_what_the_live_model_computes(
    tiny_module: Callable[..., TrainingModule], method: str, backbone: str, settings: tuple[str, ...]
) -> None:
    model = settled(tiny_module(method, *settings, backbone=backbone).live)
    assert isinstance(model, RegionalModel)
    side = 32 if "image.size=32" in settings else 16
    network = region_id_network(model, (1, side, side))
    layers = describe_gated(network.backbone, [network.gates]).layers
    assert bool(layers) == (method != "mtl")
    image, region = images(5, side), torch.tensor([1, 0, 1, 1, 0])
    with torch.no_grad():
        output, found = model(image, region), network(image, region)
    assert network.output_names == ("logits_a", "logits_b")
    for name, logits in zip(("a", "b"), found, strict=True):
        rows = output.rows[name]
        torch.testing.assert_close(logits[rows], output.logits[name], rtol=1e-9, atol=1e-9)
        if method != "mtl":  # the other rows have another region's features
            others = torch.tensor([row for row in range(5) if row not in rows.tolist()])
            wrong = model.heads[name](model.features(image, name))[others]
            assert not torch.allclose(logits[others], wrong)


ROUTED = [
    ("shufflenet_v2_x1_0", ("mola.gates=stage", "mola.adapters=3")),
    ("shufflenet_v2_x1_0", ("mola.router=image", "mola.top_k=1")),
    ("vit_tiny", ("mola.router=downscaled",)),
    ("resnet18", ("mola.layout=reshape", "mola.rank=2")),
]


@pytest.mark.parametrize(("backbone", "settings"), ROUTED)
def test_a_router_gives_what_the_live_model_computes(backbone: str, settings: tuple[str, ...]) -> None:
    _, module = make_routed(*settings, backbone=backbone)
    model, data = module.live.eval(), routed_batch()
    predictor = predictor_of(model)
    network = router_network(model, predictor, "routed")
    layers = describe_gated(network.gated.backbone, network.gated.gates, network.gated.gating)
    assert {one.gate_group for one in layers.layers} <= set(range(4 if "mola.gates=stage" in settings else 1))
    with torch.no_grad():
        expected, outputs = model.every_head(data.image), network(data.image)
        probabilities, confidence = predictor(expected.gating.hidden)
    found = dict(zip(network.output_names, outputs, strict=True))
    wanted = {f"logits_{name}": logits for name, logits in expected.logits.items()} | {
        "region_probabilities": probabilities,
        "confidence": confidence,
        "gates": expected.gating.gates,
    }
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9)
    region = model.regions.names[1]
    alone = model.deployable(region)
    with torch.no_grad():
        torch.testing.assert_close(alone(data.image), expected.logits[region], rtol=1e-9, atol=1e-9)


def test_weighted_logits_are_the_mean_over_heads() -> None:
    _, module = make_routed()
    model, data = module.live.eval(), routed_batch()
    predictor = predictor_of(model)
    with pytest.raises(UsageError, match="regions a and b have different classes"):
        router_network(model, predictor, "weighted")
    model.heads["b"] = copy.deepcopy(model.heads["a"])
    with torch.no_grad():
        model.heads["b"].weight.mul_(-2)
    model.regions = RegionSet([model.regions[0], replace(model.regions[0], name="b")])
    network = router_network(model, predictor, "weighted")
    with torch.no_grad():
        found = dict(zip(network.output_names, network(data.image), strict=True))
    weights = found["region_probabilities"][:, :, None]
    mean = weights[:, 0] * found["logits_a"] + weights[:, 1] * found["logits_b"]
    torch.testing.assert_close(found["logits"], mean)


def test_a_model_without_router_is_the_shared_one() -> None:
    _, module = make_routed()
    model, data = module.live.eval(), routed_batch()
    zeroed, bare = copy.deepcopy(model), model.without_router()
    with torch.no_grad():
        for value in factor_parameters(zeroed.backbone):
            value.zero_()
        expected = zeroed.every_head(data.image).logits["a"]
        torch.testing.assert_close(bare.deployable("a")(data.image), expected)
    macs = [count_macs(one.float().plain_network("a"), (1, 32, 32)) for one in (bare, model)]
    assert macs[0] < macs[1]


def test_a_router_of_no_router_and_ids_of_a_router_are_refused(tiny_module: Callable[..., TrainingModule]) -> None:
    plain = tiny_module("lorkd").live
    with pytest.raises(UsageError, match="a run without one"):
        require_router(plain)
    _, module = make_routed()
    with pytest.raises(UsageError, match="a run with a router"):
        require_picked(module.live)
    with pytest.raises(UsageError, match="separate networks"):
        require_picked(SeparateModels({"a": plain, "b": plain}, plain.regions))


MIXED = RegionSet([Region(name="a", classes=("x", "y")), Region(name="b", classes=("s",), task="segmentation")])


@pytest.mark.parametrize("backbone", ["tiny_resnet", "unet"])
@pytest.mark.parametrize("method", ["mola-grad", "mola-router"])
def test_heads_of_classes_and_of_masks_are_in_one_network(tiny: None, method: str, backbone: str) -> None:
    settings = [
        "regions={a: {data: x}, b: {data: x}}",
        "image.size=32",
        f"student.backbone={backbone}",
        "mola.rank=2",
    ]
    config = default_config(overrides=settings, method=method)
    torch.manual_seed(0)
    model = settled(get_method(method).build(config, MIXED, None).live)
    assert isinstance(model, RegionalModel)
    image, region = images(4, 32), torch.tensor([1, 0, 1, 0])
    with torch.no_grad():
        expected = model(image, region)
        if isinstance(model, RoutedModel):
            network = router_network(model, predictor_of(model), "all-heads")
            found = network(image)
        else:
            by_id = region_id_network(model, (1, 32, 32))
            found = by_id(image, region)
    assert found[1].shape == (4, 2, 32, 32)
    for name, logits in zip(("a", "b"), found, strict=False):
        torch.testing.assert_close(logits[expected.rows[name]], expected.logits[name], rtol=1e-9, atol=1e-9)
        if isinstance(model, RoutedModel):
            with torch.no_grad():
                torch.testing.assert_close(model.deployable(name)(image), logits, rtol=1e-9, atol=1e-9)
