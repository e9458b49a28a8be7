from __future__ import annotations

from torch import nn

from lorkit.decompose.experts.strategies import get_strategy
from lorkit.decompose.experts.strategies.geometry import LayerGeometry, Workload

NARROW = LayerGeometry.of(nn.Conv2d(64, 64, 3, padding=1), "conv", 8)


def test_unequal_rows_never_get_a_strategy_that_needs_equal_ones() -> None:
    load = Workload.of(NARROW, (7, 64, 4, 4), 2, equal=False, device="cuda")
    assert get_strategy("grouped").seconds(NARROW, load) == float("inf")
