from __future__ import annotations

import torch
from torch import nn

from lorkit.decompose.config import ExpertConfig
from lorkit.decompose.experts import LowRankExperts, Routing


def test_gradients_of_factors_are_slices_in_the_order_of_their_parameters() -> None:
    routing = Routing(("a", "b"))
    layer = LowRankExperts(nn.Conv2d(4, 6, 3), ExpertConfig(rank=2, strategy="merged"), routing, "layer")
    layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    layer.pack_()
    with routing.use(torch.tensor([0, 1]), sort=True):
        layer(torch.randn(2, 4, 5, 5)).sum().backward()
    for factors in (layer.down, layer.up):
        first, second = (factors[name].grad for name in "ab")
        assert first is not None
        assert second is not None
        assert first.stride() == factors["a"].stride()
        assert second.data_ptr() - first.data_ptr() == first.numel() * 4
