from __future__ import annotations

import pytest
from torch import nn

from lorkit.decompose.experts.strategies import get_strategy
from lorkit.decompose.experts.strategies.geometry import LayerGeometry, Workload, base_macs

WIDE = LayerGeometry.of(nn.Conv2d(512, 512, 3, padding=1), "conv", 8)


def test_macs_of_the_low_rank_path_are_counted_as_the_paper_does() -> None:
    load = Workload.of(WIDE, (1, 512, 2, 2), 1)
    overhead = get_strategy("split").macs(WIDE, load) / base_macs(WIDE, load)
    assert overhead == pytest.approx(8 / 512 + 8 / (512 * 9))  # r / O + r / (I k^2)
