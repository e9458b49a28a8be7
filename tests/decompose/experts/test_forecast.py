from __future__ import annotations

import pytest
import torch
from torch import nn

from lorkit.decompose.config import ExpertConfig
from lorkit.decompose.experts import add_experts_
from lorkit.decompose.experts.forecast import estimate_costs, mean_overhead
from lorkit.decompose.models.cost import count_macs


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.Conv2d(64, 512, 3, stride=2),
        nn.Flatten(),
        nn.LazyLinear(5),
    )


def test_the_forecast_counts_the_network_and_touches_nothing() -> None:
    model = network()
    model(torch.zeros(2, 3, 9, 9))
    macs = count_macs(model, (3, 9, 9))
    routing = add_experts_(model, ["a", "b", "c"], ExpertConfig(rank=4))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    layers = estimate_costs(model, routing, (3, 9, 9), batch=8)
    assert sum(layer.macs for layer in layers) == macs
    assert [layer.name for layer in layers] == ["0", "2", "4"]
    wide = layers[1]
    assert list(wide.weight) == [512, 64, 3, 3]
    assert wide.rank == 4
    assert wide.parameters == 3 * 4 * (64 * 9 + 512)
    assert routing.active is None
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_the_overhead_is_that_of_the_strategy_and_its_mean_is_weighted() -> None:
    model = nn.Sequential(nn.Conv2d(8, 16, 1), nn.Conv2d(16, 4, 1))
    routing = add_experts_(model, ["a", "b"], ExpertConfig(rank=2, strategy="split"))
    first, second = estimate_costs(model, routing, (8, 5, 5), batch=4)
    assert first.overhead == pytest.approx(2 * (8 + 16) / (8 * 16))
    assert second.overhead == pytest.approx(2 * (16 + 4) / (16 * 4))
    assert mean_overhead([first, second]) == pytest.approx(2 * (24 + 20) / (128 + 64))
