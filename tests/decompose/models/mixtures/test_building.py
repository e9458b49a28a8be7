"""Gated layers against the live expert layers, in float64, for hard ids and soft gates."""

from __future__ import annotations

import torch
from gated_checks import CONVS, SAMPLES, TRANSPOSED, check, live_layer, live_outputs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lorkit.decompose.experts import ExpertConfig


@settings(max_examples=40, deadline=None)
@given(
    dims=st.integers(1, 3),
    layout=st.sampled_from(["conv", "reshape"]),
    transposed=st.booleans(),
    channels=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    kernel=st.lists(st.integers(1, 3), min_size=3, max_size=3),
    stride=st.integers(1, 2),
    padding=st.integers(0, 1),
    dilation=st.integers(1, 2),
    bias=st.booleans(),
    adapters=st.integers(1, 4),
    side=st.integers(1, 4),
    rank=st.integers(1, 3),
)
def test_convolutions_equal_the_live_layer(
    dims: int,
    layout: str,
    transposed: bool,
    channels: tuple[int, int],
    kernel: list[int],
    stride: int,
    padding: int,
    dilation: int,
    bias: bool,
    adapters: int,
    side: int,
    rank: int,
) -> None:
    sides = tuple(kernel[:dims])
    least = max((size - 1) * dilation + 1 for size in sides) if not transposed else 1 + padding
    x = torch.randn(SAMPLES, channels[0], *(least + side - 1,) * dims, dtype=torch.float64)
    kind = (TRANSPOSED if transposed else CONVS)[dims]
    layer = kind(*channels, sides, stride=stride, padding=padding, dilation=dilation, bias=bias)
    if transposed and any((x.shape[2] - 1) * stride - 2 * padding + dilation * (size - 1) + 1 < 1 for size in sides):
        return
    config = ExpertConfig(rank=rank, ranks={"a0": rank + 1}, layout=layout)
    check(layer, x, config, adapters)
    # the form of its layout, whichever is cheaper
    check(layer, x, config, adapters, "blocks" if layout == "reshape" and sides[0] > 1 else "low-rank")
    check(layer, x, config, adapters, "full")


def test_the_updates_of_these_tests_matter() -> None:
    network, routing = live_layer(nn.Conv2d(4, 5, 3), 2, ExpertConfig(rank=2))
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    outputs = live_outputs(network, routing, x, torch.tensor([0, 1]))
    base = network[0].base(x)
    assert all((outputs[row] - base[row]).abs().max() > 0.1 for row in range(2))


def test_transposed_convolutions_keep_their_output_padding() -> None:
    x = torch.randn(SAMPLES, 4, 3, 3, dtype=torch.float64)
    for layout in ("conv", "reshape"):
        layer = nn.ConvTranspose2d(4, 5, 2, stride=2, output_padding=1)
        check(layer, x, ExpertConfig(rank=2, layout=layout), 3, "blocks" if layout == "reshape" else "low-rank")
