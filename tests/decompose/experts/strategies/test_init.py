from __future__ import annotations

import pytest
from torch import nn

from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts.strategies import STRATEGIES, StrategySelector, get_strategy
from lorkit.decompose.experts.strategies.geometry import LayerGeometry

NARROW = LayerGeometry.of(nn.Conv2d(64, 64, 3, padding=1), "conv", 8)
WIDE = LayerGeometry.of(nn.Conv2d(512, 512, 3, padding=1), "conv", 8)


@pytest.mark.parametrize(
    ("site", "size", "regions", "expected"),
    [
        (NARROW, 16, 8, "merged"),  # measured: 1.2 x the plain layer, taps 1.4 x
        (WIDE, 2, 8, "taps"),  # 1.04 x, merged 3 x
        (NARROW, 16, 64, "taps"),  # 1.45 x, merged 2.9 x
        (LayerGeometry.of(nn.Conv2d(64, 256, 1), "conv", 8), 16, 8, "merged"),
        (LayerGeometry.of(nn.Conv2d(512, 2048, 1), "conv", 8), 2, 8, "taps"),
    ],
)
def test_the_choice_is_the_one_that_was_measured_as_best(
    site: LayerGeometry, size: int, regions: int, expected: str
) -> None:
    shape = (64, site.inputs, size, size)
    assert StrategySelector(site).strategy(shape, regions).name == expected


def test_reshape_has_one_form() -> None:
    site = LayerGeometry.of(nn.Conv2d(64, 64, 3), "reshape", 8)
    assert StrategySelector(site).strategy((8, 64, 9, 9), 2).name == "merged"
    for name in set(STRATEGIES) - {"merged"}:
        with pytest.raises(UsageError, match="layout 'reshape' has no low-rank path"):
            StrategySelector(site, name, "conv")


def test_strategies_are_found_by_name_and_unknown_ones_listed() -> None:
    assert list(STRATEGIES) == ["grouped", "merged", "sampled", "split", "taps"]
    assert all(get_strategy(name).name == name for name in STRATEGIES)
    with pytest.raises(UsageError, match=r"unknown strategy 'tap'.*auto, grouped, .*did you mean 'taps'"):
        get_strategy("tap")


@pytest.mark.parametrize(("width", "size", "chosen"), [(116, 4, "merged"), (512, 2, "taps")])
def test_narrow_pointwise_layers_merge_and_wide_ones_do_not(width: int, size: int, chosen: str) -> None:
    selector = StrategySelector(LayerGeometry.of(nn.Conv2d(width, width, 1), "conv", 8))
    assert selector.strategy((64, width, size, size), 8).name == chosen
