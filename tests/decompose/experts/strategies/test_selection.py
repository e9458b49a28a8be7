from __future__ import annotations

import pytest
import torch
from torch import nn

from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts.strategies import STRATEGIES, get_strategy
from lorkit.decompose.experts.strategies.geometry import Load, Site, base_macs
from lorkit.decompose.experts.strategies.selection import Choice

NARROW = Site.of(nn.Conv2d(64, 64, 3, padding=1), "conv", 8)
WIDE = Site.of(nn.Conv2d(512, 512, 3, padding=1), "conv", 8)


@pytest.mark.parametrize(
    ("site", "size", "regions", "expected"),
    [
        (NARROW, 16, 8, "merged"),  # measured: 1.2 x the plain layer, taps 1.4 x
        (WIDE, 2, 8, "taps"),  # 1.04 x, merged 3 x
        (NARROW, 16, 64, "taps"),  # 1.45 x, merged 2.9 x
        (Site.of(nn.Conv2d(64, 256, 1), "conv", 8), 16, 8, "merged"),
        (Site.of(nn.Conv2d(512, 2048, 1), "conv", 8), 2, 8, "taps"),
    ],
)
def test_the_choice_is_the_one_that_was_measured_as_best(site: Site, size: int, regions: int, expected: str) -> None:
    shape = (64, site.inputs, size, size)
    assert Choice(site).strategy(shape, regions).name == expected


def test_reshape_has_one_form() -> None:
    site = Site.of(nn.Conv2d(64, 64, 3), "reshape", 8)
    assert Choice(site).strategy((8, 64, 9, 9), 2).name == "merged"
    for name in set(STRATEGIES) - {"merged"}:
        with pytest.raises(UsageError, match="layout 'reshape' has no low-rank path"):
            Choice(site, name, "conv")


def test_unequal_rows_never_get_a_strategy_that_needs_equal_ones() -> None:
    load = Load.of(NARROW, (7, 64, 4, 4), 2, equal=False, device="cuda")
    assert get_strategy("grouped").seconds(NARROW, load) == float("inf")


def test_macs_of_the_low_rank_path_are_counted_as_the_paper_does() -> None:
    load = Load.of(WIDE, (1, 512, 2, 2), 1)
    overhead = get_strategy("split").macs(WIDE, load) / base_macs(WIDE, load)
    assert overhead == pytest.approx(8 / 512 + 8 / (512 * 9))  # r / O + r / (I k^2)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(5, 7), (2, 3, 5)),
        (nn.Conv2d(3, 8, 3, stride=2, padding=1), (2, 3, 9, 8)),
        (nn.Conv1d(3, 8, 4, padding="same", dilation=2), (2, 3, 9)),
        (nn.Conv3d(4, 8, 3, groups=2), (2, 4, 5, 6, 7)),
        (nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), (2, 3, 4, 5)),
    ],
)
def test_the_site_knows_the_shape_of_the_output(layer: nn.Module, shape: tuple[int, ...]) -> None:
    site = Site.of(layer, "conv", 2)  # type: ignore[arg-type]
    assert site.output(site.spatial(shape)) == site.spatial(tuple(layer(torch.zeros(shape)).shape))
