"""Extracted and fused networks against the live one."""

from __future__ import annotations

import copy
import hashlib
import random

import pytest
import torch
from torch import Tensor, nn

from lorkit.decompose.config import ExpertConfig
from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts import (
    Routing,
    add_experts_,
    extract,
    factor_parameters,
    fuse_,
    unfuse_,
)

REGIONS = ["brain", "chest", "knee"]


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 6, 3, padding=1, groups=6),
        nn.ConvTranspose2d(6, 4, 3, stride=2, output_padding=1),
        nn.BatchNorm2d(4),
        nn.Flatten(),
        nn.Linear(4 * 8 * 8, 5),
    ).double()


def live(config: ExpertConfig) -> tuple[nn.Sequential, Routing]:
    torch.manual_seed(0)
    model = network()
    routing = add_experts_(model, REGIONS, config)
    for parameter in model.parameters():  # factors, and norms that no longer agree
        nn.init.normal_(parameter, std=0.3)
    for _ in range(2):  # give each norm statistics of its own
        with routing.use(torch.tensor([0, 0, 1, 1, 2, 2])):
            model(torch.randn(6, 3, 8, 8, dtype=torch.float64) + torch.arange(6.0).view(-1, 1, 1, 1))
    return model.eval(), routing


def digests(model: nn.Module) -> dict[str, str]:
    return {key: hashlib.sha256(value.numpy().tobytes()).hexdigest() for key, value in model.state_dict().items()}


@pytest.mark.parametrize("norm", ["shared", "statistics", "region"])
@pytest.mark.parametrize("layout", ["conv", "reshape"])
def test_the_extracted_network_equals_the_live_one(layout: str, norm: str) -> None:
    config = ExpertConfig(rank=2, ranks={"knee": 3}, layout=layout, norm=norm, depthwise=True)  # type: ignore[arg-type]
    model, routing = live(config)
    x, ids = torch.randn(6, 3, 8, 8, dtype=torch.float64), torch.tensor([2, 0, 1, 1, 0, 2])
    with torch.no_grad(), routing.use(ids):
        y = model(x)
    for t, region in enumerate(REGIONS):
        plain = extract(model, region)
        with torch.no_grad():
            torch.testing.assert_close(plain(x[ids == t]), y[ids == t], rtol=1e-10, atol=1e-10)


def test_classes_keys_shapes_and_size_are_the_originals() -> None:
    model, _ = live(ExpertConfig(depthwise=True))
    plain, original = extract(model, "chest"), network()
    assert [type(module) for module in plain.modules()] == [type(module) for module in original.modules()]
    assert {key: value.shape for key, value in plain.state_dict().items()} == {
        key: value.shape for key, value in original.state_dict().items()
    }
    network().load_state_dict(plain.state_dict(), strict=True)
    assert all(isinstance(parameter, nn.Parameter) and parameter.requires_grad for parameter in plain.parameters())


def test_extraction_touches_nothing_and_shares_nothing() -> None:
    model, _ = live(ExpertConfig())
    before = digests(model)
    plain = extract(model, "chest")
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(1)
    assert digests(model) == before


def test_nothing_of_other_regions_is_inside() -> None:
    model, _ = live(ExpertConfig(depthwise=True))
    plain = extract(model, "chest")
    assert not [key for key in plain.state_dict() if any(region in key.split(".") for region in REGIONS)]
    other = copy.deepcopy(model)
    with torch.no_grad():
        for key, value in other.state_dict().items():
            if {"brain", "knee"} & set(key.split(".")):
                value.copy_(torch.zeros_like(value))
    assert digests(extract(other, "chest")) == digests(plain)
    foreign = {digest for key, digest in digests(model).items() if {"brain", "knee"} & set(key.split("."))}
    changing: set[str] = {key for key, value in plain.state_dict().items() if value.is_floating_point()}
    assert foreign.isdisjoint(digests(plain)[key] for key in changing)


def test_a_fused_model_extracts_every_region_from_its_kept_base() -> None:
    model, _ = live(ExpertConfig())
    expected = {region: digests(extract(model, region)) for region in REGIONS}
    fuse_(model, "brain")
    assert {region: digests(extract(model, region)) for region in REGIONS} == expected


def test_an_extracted_network_is_exported_with_a_dynamic_batch() -> None:
    model, routing = live(ExpertConfig())
    plain = extract(model, "brain").float()
    exported = torch.export.export(
        plain, (torch.randn(2, 3, 8, 8),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
    ).module()
    x: Tensor = torch.randn(5, 3, 8, 8)
    torch.testing.assert_close(exported(x), plain(x))
    routing.activate("brain")
    torch.testing.assert_close(model.float()(x), plain(x), rtol=1e-4, atol=1e-5)


def test_an_unknown_region_lists_the_known() -> None:
    model, _ = live(ExpertConfig())
    with pytest.raises(UsageError, match=r"unknown region 'liver'.*brain, chest, knee"):
        extract(model, "liver")


def fusable(layout: str = "conv", dtype: torch.dtype = torch.float32) -> tuple[nn.Sequential, Routing]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)).to(dtype)
    routing = add_experts_(model, REGIONS, ExpertConfig(rank=2, layout=layout))  # type: ignore[arg-type]
    for parameter in factor_parameters(model):
        nn.init.normal_(parameter)
    return model.eval(), routing


@pytest.mark.parametrize("layout", ["conv", "reshape"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_thousand_switches_leave_every_bit_in_place(layout: str, dtype: torch.dtype) -> None:
    model, _ = fusable(layout, dtype)
    before = copy.deepcopy(model.state_dict())
    choose = random.Random(0)
    first: dict[str, torch.Tensor] = {}
    for _ in range(1000):
        region = choose.choice(REGIONS)
        fuse_(model, region)
        fused = model[0].base.weight.detach().clone()
        assert torch.equal(first.setdefault(region, fused), fused)
    unfuse_(model)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_fused_model_computes_what_the_extracted_one_does() -> None:
    model, routing = fusable()
    x = torch.randn(2, 3, 6, 6)
    for region in REGIONS:
        fuse_(model, region)
        with torch.no_grad():
            assert torch.equal(model(x), extract(model, region)(x))
            with routing.use(region):
                model(x)
            with routing.use(torch.full((2,), REGIONS.index(region))):
                model(x)


def test_switching_a_live_model_runs_each_expert() -> None:
    model, routing = fusable()
    x = torch.randn(2, 3, 6, 6)
    for region in REGIONS:
        routing.activate(region)
        with torch.no_grad():
            torch.testing.assert_close(model(x), extract(model, region)(x), rtol=1e-4, atol=1e-4)


def test_a_fused_model_refuses_to_save_load_train_and_run_another_region() -> None:
    model, routing = fusable()
    weights = copy.deepcopy(model.state_dict())
    fuse_(model, "brain")
    x = torch.randn(3, 3, 6, 6)
    with pytest.raises(UsageError, match=r"fused with region 'brain'.*an unmerged model to save"):
        model.state_dict()
    with pytest.raises(UsageError, match="an unmerged model to load"):
        model.load_state_dict(weights)
    with routing.use("chest"), pytest.raises(UsageError, match="the batch has other regions"):
        model(x)
    with routing.use(torch.tensor([0, 0, 1])), pytest.raises(UsageError, match="the batch has other regions"):
        model(x)
    with routing.without_experts(), pytest.raises(UsageError, match="the batch has other regions"):
        model(x)
    model.train()
    with pytest.raises(UsageError, match="in training mode"):
        model(x)
    unfuse_(model)
    model.load_state_dict(weights)


def test_unfuse_clears_the_active_region_and_may_be_repeated() -> None:
    model, routing = fusable()
    fuse_(model, "brain")
    assert routing.active == "brain"
    unfuse_(model)
    unfuse_(model)
    assert routing.active is None


def test_a_copy_of_a_fused_model_is_fused_and_independent() -> None:
    model, _ = fusable()
    fuse_(model, "brain")
    twin = copy.deepcopy(model)
    unfuse_(model)
    assert twin[0].fused == "brain"
    unfuse_(twin)
    assert torch.equal(twin[0].base.weight, model[0].base.weight)


def test_unknown_regions_and_plain_models_are_refused() -> None:
    model, _ = fusable()
    with pytest.raises(UsageError, match="unknown region 'liver'"):
        fuse_(model, "liver")
    assert model[0].fused is None
    with pytest.raises(UsageError, match="without experts"):
        fuse_(nn.Sequential(nn.Linear(2, 2)), "brain")
