from __future__ import annotations

import pytest
import torch
from torch import nn

from lorkit.decompose.config import ExpertConfig
from lorkit.decompose.experts import LowRankExperts, Routing
from lorkit.decompose.experts.strategies.taps_node import taps_in_one_node


@pytest.mark.parametrize(
    ("kernel", "memory", "expected"),
    [(3, torch.channels_last, True), (3, torch.contiguous_format, False), (1, torch.contiguous_format, True)],
)
def test_taps_in_one_node_need_channels_that_are_last_in_memory(
    kernel: int, memory: torch.memory_format, expected: bool
) -> None:
    routing = Routing(("a", "b"))
    layer = LowRankExperts(nn.Conv2d(4, 6, kernel), ExpertConfig(rank=2, strategy="taps"), routing, "layer")
    layer.to(memory_format=memory)  # type: ignore[call-overload]
    assert taps_in_one_node(layer._inputs(("a", "b"), (1, 1)), torch.randn(2, 4, 5, 5)) is expected


def test_plain_images_in_a_layer_with_channels_last_get_the_same_values() -> None:
    routing = Routing(("a", "b"))
    layer = LowRankExperts(nn.Conv2d(4, 6, 3), ExpertConfig(rank=2, strategy="taps"), routing, "layer")
    layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 4, 5, 5)
    with routing.use(torch.tensor([0, 1]), sort=True):
        one, other = layer(x), layer(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(one, other)
