from __future__ import annotations

import copy
import hashlib

import pytest
import torch
from torch import Tensor, nn

from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts import (
    ExpertConfig,
    Routing,
    add_experts_,
    extract,
    fuse_,
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
