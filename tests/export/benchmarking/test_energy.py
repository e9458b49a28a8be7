"""Energy by a counter like NVML's; nothing is asked for engines on a CPU."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from lorkit.export.benchmarking.energy import millijoules

INPUTS = [{"image": np.zeros((2, 1, 4, 4), np.float32)}]


class Card:
    """A card that takes 7 mJ an image; `run` works on it."""

    def __init__(self, counts: bool = True) -> None:
        self.used, self.module, self.now = 1000.0, ModuleType("pynvml"), 0.0
        nvml: Any = self.module
        nvml.NVMLError = OSError
        nvml.nvmlInit = lambda: None
        nvml.nvmlDeviceGetHandleByIndex = lambda index: index
        nvml.nvmlDeviceGetTotalEnergyConsumption = self.read
        self.counts = counts

    def read(self, handle: int) -> int:
        if not self.counts:
            raise OSError("not supported")
        return int(self.used)

    def run(self, batch: Any) -> None:
        self.used += 7 * len(batch["image"])
        self.now += 0.1

    def clock(self) -> float:
        return self.now


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    found = Card()
    monkeypatch.setitem(sys.modules, "pynvml", found.module)
    return found


@pytest.mark.parametrize("provider", ["CUDAExecutionProvider", "TensorRT 11.1", "AOTInductor cuda"])
def test_of_an_image_not_of_a_batch(card: Card, provider: str) -> None:
    assert millijoules(provider, card.run, INPUTS, clock=card.clock) == pytest.approx(7)
    assert card.now >= 1.0


def test_nothing_is_run_where_nothing_counts(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    assert millijoules("CPUExecutionProvider", card.run, INPUTS, clock=card.clock) is None
    card.counts = False
    assert millijoules("CUDAExecutionProvider", card.run, INPUTS, clock=card.clock) is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert millijoules("CUDAExecutionProvider", card.run, INPUTS, clock=card.clock) is None
    assert card.now == 0
