"""timm's batch norm with an activation, by region: as its two parts, and as it was after extraction."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lorkit.decompose.config import ExpertConfig
from lorkit.decompose.experts import add_experts_, extract
from lorkit.decompose.experts.norms.activated_norm import is_activated_norm, joined_norm, split_norm
from lorkit.decompose.experts.norms.region_norm import RegionNorm
from lorkit.decompose.models.backbones.timm_models import known_timm

pytestmark = pytest.mark.skipif(find_spec("timm") is None, reason="the extra 'timm' is not installed")
REGIONS = ("a", "b")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        known_timm("resnet18")
        from timm.layers import BatchNormAct2d

        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = BatchNormAct2d(8, act_layer=nn.ReLU6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))  # type: ignore[no-any-return]


def drawn() -> Any:
    torch.manual_seed(0)
    network: Any = Net().double()
    with torch.no_grad():
        for value in (network.norm.weight, network.norm.bias, network.norm.running_mean):
            value.normal_()
        network.norm.running_var.uniform_(0.5, 2)
    return network


def test_both_parts_are_the_whole() -> None:
    whole = drawn().norm.eval()
    norm, after = split_norm(whole)
    assert is_activated_norm(whole)
    assert type(norm) is nn.BatchNorm2d
    assert after is not None
    x = torch.randn(4, 8, 5, 5).double()
    with torch.no_grad():
        assert torch.equal(after(norm(x)), whole(x))
        again = joined_norm(norm, after, type(whole))
        assert torch.equal(again(x), whole(x))
    assert type(again) is type(whole)
    assert again.state_dict().keys() == whole.state_dict().keys()
    plain = nn.BatchNorm2d(8)
    assert split_norm(plain)[1] is None


@pytest.mark.parametrize("policy", ["region", "statistics"])
@pytest.mark.parametrize("training", [True, False])
def test_each_region_is_normalised_and_activated_as_alone(policy: str, training: bool) -> None:
    network, config = drawn(), ExpertConfig(rank=1, norm=policy)
    alone = {region: drawn().train(training) for region in REGIONS}
    routing = add_experts_(network, REGIONS, config)
    assert isinstance(network.norm, RegionNorm)
    network.train(training)
    x, ids = torch.randn(6, 3, 9, 9).double() + 1, torch.tensor([0, 1, 1, 0, 0, 1])
    with routing.use(ids):
        y = network(x)
        y.square().sum().backward()
    for index, region in enumerate(REGIONS):
        expected = alone[region](x[ids == index])
        torch.testing.assert_close(y[ids == index], expected)
        plain = extract(network, region)
        assert is_activated_norm(plain.norm)
        assert plain.state_dict().keys() == alone[region].state_dict().keys()
        with torch.no_grad():
            torch.testing.assert_close(plain.eval()(x), alone[region].eval()(x))  # its statistics moved as alone
    gradient = network.conv.base.weight.grad
    for region in REGIONS:
        alone[region].train(training).zero_grad()
    fresh = [drawn().train(training) for _ in REGIONS]
    for index, one in enumerate(fresh):
        one(x[ids == index]).square().sum().backward()
    torch.testing.assert_close(gradient, sum(one.conv.weight.grad for one in fresh))
