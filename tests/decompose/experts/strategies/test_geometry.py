from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import nn

from lorkit.decompose.experts.strategies.geometry import DeviceCosts, LayerGeometry, Workload

LAYER = LayerGeometry.of(nn.Conv2d(8, 8, 3), "conv", 2)


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
    site = LayerGeometry.of(layer, "conv", 2)  # type: ignore[arg-type]
    assert site.output(site.spatial(shape)) == site.spatial(tuple(layer(torch.zeros(shape)).shape))


def test_every_unit_has_its_price_and_threads_share_all_but_calls() -> None:
    prices = {one.name: 2.0**index for index, one in enumerate(fields(DeviceCosts)) if one.name != "threads"}
    units = {"mac": "macs", "narrow_mac": "narrow_macs", "factor": "factors", "call": "calls"}
    for threads in (1, 4):
        costs = DeviceCosts(**prices, threads=threads)
        for name, price in prices.items():
            expected = 3 * price / (1 if name == "call" else threads)
            assert costs.time(**{units.get(name, name): 3}) == pytest.approx(expected), name
    assert costs.time() == 0


def test_a_gpu_has_prices_of_its_own_and_a_cpu_its_threads() -> None:
    cpu, gpu = (Workload.of(LAYER, (4, 8, 9, 9), 2, device=device).costs for device in ("cpu", "cuda"))
    assert (cpu.threads, gpu.threads) == (torch.get_num_threads(), 1)
    assert gpu.mac < cpu.mac / 100
    assert gpu.call > cpu.call
