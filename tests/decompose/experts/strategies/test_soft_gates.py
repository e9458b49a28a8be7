from __future__ import annotations

import pytest
import torch
from torch import nn

from lorkit.decompose.experts import ExpertConfig, LowRankExperts, Routing


@pytest.mark.parametrize("layout", ["conv", "reshape"])
def test_gates_mix_the_outputs_of_single_experts(layout: str) -> None:
    torch.manual_seed(0)
    routing = Routing(("a", "b", "c"))
    config = ExpertConfig(rank=2, ranks={"b": 3}, layout=layout)  # type: ignore[arg-type]
    layer = LowRankExperts(nn.Conv2d(3, 4, 3, padding=1).double(), config, routing, "layer")
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    x, gates = torch.randn(5, 3, 4, 4, dtype=torch.float64), torch.rand(5, 3, dtype=torch.float64)
    with torch.no_grad():
        base = layer.base(x)
        expected = base.clone()
        for index, region in enumerate(routing.regions):
            with routing.use(region):
                expected += gates[:, index].view(-1, 1, 1, 1) * (layer(x) - base)
        with routing.use(gates):
            torch.testing.assert_close(layer(x), expected)
