from __future__ import annotations

import pytest
import torch
from torch import nn

from lorkit.decompose.config import ExpertConfig
from lorkit.decompose.experts import LowRankExperts, Routing
from lorkit.decompose.experts.strategies import get_strategy
from lorkit.decompose.experts.strategies.geometry import LayerGeometry


@pytest.mark.parametrize(
    ("layer", "layout", "why"),
    [
        (nn.Conv2d(4, 4, 3), "reshape", "no low-rank path"),
        (nn.ConvTranspose2d(4, 4, 3), "conv", "transposed"),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), "conv", "not padded with zeros"),
        (nn.Conv2d(4, 4, 3, padding=1), "conv", None),
        (nn.Linear(4, 4), "conv", None),
    ],
)
def test_what_it_does_not_compute_is_refused_with_the_reason(layer: nn.Module, layout: str, why: str | None) -> None:
    found = get_strategy("sampled").refusal(LayerGeometry.of(layer, layout, 2))  # type: ignore[arg-type]
    assert found is None if why is None else why in str(found)


def test_rows_of_any_mixture_are_those_of_single_regions() -> None:
    torch.manual_seed(0)
    routing = Routing(("a", "b", "c"))
    config = ExpertConfig(rank=2, strategy="sampled")
    layer = LowRankExperts(nn.Conv2d(3, 4, 3, stride=2, padding=1).double(), config, routing, "layer")
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    x, ids = torch.randn(6, 3, 5, 5, dtype=torch.float64), torch.tensor([2, 0, 2, 1, 2, 0])
    with torch.no_grad():
        with routing.use(ids):
            mixed = layer(x)
        for index, region in enumerate(routing.regions):
            with routing.use(region):
                torch.testing.assert_close(mixed[ids == index], layer(x[ids == index]))
