from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import nn

from lorkit.decompose.experts.strategies.device_costs import DeviceCosts, of
from lorkit.decompose.experts.strategies.geometry import LayerGeometry, Workload

LAYER = LayerGeometry.of(nn.Conv2d(8, 8, 3), "conv", 2)


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
    cpu, gpu = (of(Workload.of(LAYER, (4, 8, 9, 9), 2, device=device)) for device in ("cpu", "cuda"))
    assert (cpu.threads, gpu.threads) == (torch.get_num_threads(), 1)
    assert gpu.mac < cpu.mac / 100
    assert gpu.call > cpu.call
