from __future__ import annotations

import pytest
import torch
from torch import nn

from lorkit.decompose.config import ExpertConfig
from lorkit.decompose.experts import LowRankExperts, Routing, algebra
from lorkit.decompose.experts.strategies.geometry import LayerGeometry, Workload
from lorkit.decompose.experts.strategies.merged import Merged, merged_weights, weight_updates


@pytest.mark.parametrize("layout", ["conv", "reshape"])
@pytest.mark.parametrize("base", [nn.Linear(6, 4), nn.Conv2d(6, 4, 3), nn.ConvTranspose2d(6, 4, 3)])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_merged_weights_are_base_and_scaled_update(base: nn.Module, layout: str, memory: torch.memory_format) -> None:
    torch.manual_seed(0)
    routing = Routing(("a", "b"))
    config = ExpertConfig(rank=2, alpha=3, layout=layout)  # type: ignore[arg-type]
    layer = LowRankExperts(base.double(), config, routing, "layer")  # type: ignore[arg-type]
    if not isinstance(base, nn.Linear):
        layer.to(memory_format=memory)  # type: ignore[call-overload]
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    inputs = layer._inputs(("a", "b"), (2, 2))
    updates = [
        inputs.scales[t] * algebra.delta(layer.base, layer.down[name], layer.up[name], layout)  # type: ignore[arg-type]
        for t, name in enumerate(("a", "b"))
    ]
    torch.testing.assert_close(weight_updates(inputs), torch.stack(updates))
    torch.testing.assert_close(merged_weights(inputs), torch.stack([layer.base.weight + one for one in updates]))


def test_the_cost_grows_with_regions_and_not_with_the_batch() -> None:
    geometry = LayerGeometry.of(nn.Conv2d(16, 8, 3, padding=1), "conv", 2)
    one, more, larger = (Workload.of(geometry, (rows, 16, 9, 9), regions) for rows, regions in ((4, 2), (4, 4), (8, 2)))
    assert Merged().macs(geometry, one) == 2 * (2 * 8 * 16 * 9)
    assert Merged().macs(geometry, more) == 2 * Merged().macs(geometry, one) == 2 * Merged().macs(geometry, larger)
    assert Merged().seconds(geometry, more) > Merged().seconds(geometry, one)
