"""The form of a gated layer: the fewest operations, as a counter sees them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lorkit.decompose.documents.gated import GatedForm
from lorkit.decompose.models.mixtures.forms import FORMS, Positions, choose_form, form_macs
from lorkit.decompose.models.mixtures.gates import Gates

RANKS = (2, 3)


def counted(base: nn.Module, form: GatedForm, x: torch.Tensor) -> tuple[int, Positions]:
    """Return the multiply-accumulates of the adapters alone for one image, and the positions of the layer."""
    gates = Gates()
    layer = FORMS[form](base, RANKS, gates)
    gates.pick(torch.zeros(1, dtype=torch.int64))
    totals = []
    with torch.no_grad():
        for network in (layer, base):
            with FlopCounterMode(display=False) as counter:
                y = network(x)
            totals.append(int(counter.get_total_flops()) // 2)
    axis = -1 if isinstance(base, nn.Linear) else 1
    return totals[0] - totals[1], Positions(x.numel() // x.shape[axis], y.numel() // y.shape[axis])


@pytest.mark.parametrize(
    ("base", "layout", "form"),
    [
        (nn.Conv2d(8, 6, 3, stride=2, padding=1), "conv", "low-rank"),
        (nn.Conv2d(8, 6, 3, stride=2, padding=1), "conv", "full"),
        (nn.ConvTranspose2d(8, 6, 2, stride=2), "conv", "low-rank"),
        (nn.Conv2d(8, 6, 3, padding=1), "reshape", "blocks"),  # a block is 3 of 8 channels, nearly a third
        (nn.Conv2d(9, 6, 3, padding=1), "reshape", "blocks"),
        (nn.ConvTranspose2d(8, 7, 2, stride=2), "reshape", "blocks"),
        (nn.Conv2d(8, 6, (1, 3)), "reshape", "low-rank"),
        (nn.Linear(8, 6), "conv", "low-rank"),
    ],
)
def test_operations_are_those_of_the_layer(base: nn.Module, layout: str, form: GatedForm) -> None:
    x = torch.zeros(1, 5, 8) if isinstance(base, nn.Linear) else torch.zeros(1, base.in_channels, 10, 10)
    found, positions = counted(base, form, x)
    assert form_macs(base, RANKS, layout, positions, picked=True)[form] == found  # type: ignore[arg-type]


def test_blocks_need_no_zero_padding() -> None:
    """A dense kernel over all channels for every block would take k0 times as many operations."""
    base, positions = nn.Conv2d(64, 64, 3, padding=1), Positions(3136, 3136)
    rank = sum(RANKS)
    padded = positions.written * rank * 9 * (64 * 9 + 64)
    exact = positions.written * rank * 9 * (64 * 9 / 3 + 64)
    found = form_macs(base, RANKS, "reshape", positions, picked=True)["blocks"]
    assert exact <= found < 1.03 * exact < 0.42 * padded


@pytest.mark.parametrize(
    ("base", "positions", "form"),
    [
        (nn.Conv2d(64, 64, 3, padding=1), 3136, "low-rank"),
        (nn.Conv2d(58, 58, 1), 784, "mixed"),
        (nn.Conv2d(464, 1024, 1), 49, "low-rank"),  # its table would not fit into a cache
        (nn.Conv2d(58, 58, 1, stride=2), 196, "low-rank"),  # strides skip positions
        (nn.Conv2d(58, 58, 1, padding=1), 900, "low-rank"),
        (nn.Linear(192, 192), 197, "mixed"),
        (nn.Linear(192, 192), 1, "low-rank"),
        (nn.Conv2d(1, 2, 1, stride=2), 100, "full"),  # an update is smaller than factors
    ],
)
def test_the_form_with_the_fewest_operations_is_chosen(base: nn.Module, positions: int, form: str) -> None:
    assert choose_form(base, (4,) * 4, "conv", Positions(positions, positions), picked=True) == form


def test_a_mixture_of_many_adapters_makes_weights_dearer() -> None:
    base, positions = nn.Conv2d(116, 116, 1), Positions(49, 49)
    ranks = (1,) * 11
    assert choose_form(base, ranks, "conv", positions, picked=True) == "mixed"
    assert choose_form(base, ranks, "conv", positions, picked=False) == "low-rank"
