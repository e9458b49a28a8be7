"""Layers in one autograd function: when they are used, and that they have the derivatives of the plain operations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lorkit.decompose.config import ExpertConfig
from lorkit.decompose.experts import LowRankExperts, Routing
from lorkit.decompose.experts.strategies.one_node import in_one_node

REGIONS = ("a", "b", "c")


def layer_of(strategy: str, base: nn.Module, *, packed: bool = True, **settings: Any) -> tuple[LowRankExperts, Routing]:
    torch.manual_seed(0)
    routing = Routing(REGIONS)
    config = ExpertConfig(rank=2, alpha=3, layout="conv", strategy=strategy, **settings)
    layer = LowRankExperts(base.double(), config, routing, "layer")  # type: ignore[arg-type]
    layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    if packed:
        layer.pack_()
    return layer, routing


def used(layer: LowRankExperts, x: Tensor, rows: tuple[int, ...] = (1, 1, 1)) -> bool:
    return in_one_node(layer._inputs(REGIONS, rows, len(set(rows)) == 1), x)


def test_it_is_used_where_one_function_computes_the_layer() -> None:
    x = torch.randn(3, 4, 5, 5, dtype=torch.float64)
    layer, _ = layer_of("merged", nn.Conv2d(4, 6, 3, padding=1))
    assert used(layer, x)
    assert not used(layer, x, (1, 2, 1))
    assert not used(layer, x.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not used(layer, x)
    layer.base.register_forward_hook(lambda *_: None)
    assert not used(layer, x)
    ranks, _ = layer_of("merged", nn.Conv2d(4, 6, 3), ranks={"b": 1})
    assert not used(ranks, x)
    reflecting, _ = layer_of("merged", nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"))
    assert not used(reflecting, x)


@pytest.mark.parametrize("strategy", ["merged", "taps"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("base", [nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.Conv2d(4, 6, 1, stride=2, bias=False)])
def test_regions_in_one_function_have_the_gradients_of_the_formula(
    strategy: str, packed: bool, base: nn.Conv2d
) -> None:
    layer, routing = layer_of(strategy, base, packed=packed)
    layer.down["b"].requires_grad_(False)
    x = torch.randn(6, 4, 5, 6, dtype=torch.float64).to(memory_format=torch.channels_last).requires_grad_()
    ids = torch.tensor([0, 0, 1, 1, 2, 2])
    with routing.use(ids, sort=True):
        y = layer(x)
    assert y.grad_fn is not None
    assert y.grad_fn.name() == {"merged": "_MergedBackward", "taps": "_TapsBackward"}[strategy]
    rows = []
    for n, region in enumerate("aabbcc"):
        update = torch.einsum("or,rikl->oikl", layer.up[region], layer.down[region])
        weight = layer.base.weight + 1.5 * update
        rows.append(nn.functional.conv2d(x[n : n + 1], weight, layer.base.bias, base.stride, base.padding))  # type: ignore[arg-type]
    expected = torch.cat(rows)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    sources = [value for value in (x, *layer.parameters()) if value.requires_grad]
    cotangent = torch.randn_like(y)
    ours = torch.autograd.grad(y, sources, cotangent)
    theirs = torch.autograd.grad(expected, sources, cotangent)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("strategy", ["merged", "taps"])
def test_second_derivatives_are_those_of_the_tensors_of_the_forward_pass(strategy: str) -> None:
    layer, routing = layer_of(strategy, nn.Conv2d(3, 4, 3, padding=1), packed=False)
    x = torch.randn(3, 3, 4, 4, dtype=torch.float64).to(memory_format=torch.channels_last).requires_grad_()
    given = {name: (value.detach() * 2).requires_grad_() for name, value in layer.named_parameters()}

    def twice(values: dict[str, Tensor], network: nn.Module) -> tuple[Tensor, ...]:
        with routing.use(torch.arange(3), sort=True):
            y = torch.func.functional_call(network, values, (x,))
        (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)  # the module holds its own again
        return torch.autograd.grad(first.square().sum(), list(values.values()))

    ours = twice(given, layer)
    split, routing = layer_of("split", nn.Conv2d(3, 4, 3, padding=1), packed=False)
    for mine, other in zip(ours, twice(given, split), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)
