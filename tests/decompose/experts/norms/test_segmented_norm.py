"""Second derivatives and torch.func through norms by region, against formulas written out in float64."""

from __future__ import annotations

import pytest
import torch
from derivatives import derivatives, forward_mode, twice
from torch import Tensor, nn

from lorkit.decompose.experts import RegionNorm, Routing


@pytest.mark.parametrize("policy", ["statistics", "region"])
@pytest.mark.parametrize("rows", [(2, 3), (2,) * 17], ids=["segmented", "folded"])
@pytest.mark.parametrize("memory", ["plain", "channels_last", "transposed"])
def test_norms_by_region_have_every_derivative(policy: str, rows: tuple[int, ...], memory: str) -> None:
    torch.manual_seed(0)
    routing = Routing(tuple(f"r{index}" for index in range(len(rows))))
    base = nn.BatchNorm2d(3).double()
    norm = RegionNorm(base, policy, routing, "bn")  # type: ignore[arg-type]
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    ids = torch.repeat_interleave(torch.tensor(rows))
    x = torch.randn(len(ids), 3, 3, 2, dtype=torch.float64)
    if memory != "plain":
        x = x.transpose(2, 3) if memory == "transposed" else x.to(memory_format=torch.channels_last)

    def ours(x: Tensor) -> Tensor:
        with routing.use(ids):
            return norm(x)

    def functional(x: Tensor) -> Tensor:
        buffers = {name: buffer.clone() for name, buffer in norm.named_buffers()}  # torch.func changes none in place
        with routing.use(ids):
            return torch.func.functional_call(norm, buffers, (x,))

    def formula(x: Tensor) -> Tensor:
        outputs = []
        for region, part in zip(routing.regions, x.split(list(rows)), strict=True):
            own = norm if policy == "statistics" else norm.regions[region]
            deviation = part - part.mean((0, 2, 3), keepdim=True)
            variance = deviation.square().mean((0, 2, 3), keepdim=True)
            weight, bias = own.weight.view(-1, 1, 1), own.bias.view(-1, 1, 1)
            outputs.append(deviation / (variance + base.eps).sqrt() * weight + bias)
        return torch.cat(outputs)

    parameters = list(norm.parameters())
    torch.testing.assert_close(twice(ours, x, parameters), twice(formula, x, parameters))
    torch.testing.assert_close(derivatives(functional, x), derivatives(formula, x))
    torch.testing.assert_close(forward_mode(ours, x), forward_mode(formula, x))
