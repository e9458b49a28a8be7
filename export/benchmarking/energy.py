"""Energy per image on a GPU, from the driver's counter, if NVML has one.

The counter is of the whole card, so it includes other processes and idle power: it is the energy per image on this
machine in its state, not of the network alone.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from lorkit.export.targets.base import Inputs
from lorkit.export.targets.gpu_timer import on_gpu

SECONDS = 1.0
"""Minimum time of running: the counter is updated every few ten milliseconds."""


def millijoules(
    provider: str,
    run: Callable[[Inputs], object],
    inputs: Sequence[Inputs],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> float | None:
    """Return the energy per image in mJ; None if the engine is not on a GPU or there is no counter.

    `run` is a warm engine of `provider`, which runs the batches of `inputs` in turn for `seconds`.
    """
    counter = _counter() if on_gpu(provider) else None
    if counter is None:
        return None
    begin, images, turn = counter(), 0, 0
    stop = clock() + SECONDS
    while clock() < stop:
        batch = inputs[turn % len(inputs)]
        run(batch)
        images, turn = images + len(next(iter(batch.values()))), turn + 1
    return (counter() - begin) / images if images else None


def _counter() -> Callable[[], int] | None:
    """Return a function that reads the first GPU's energy so far in mJ; None without NVML or a counter."""
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except nvml.NVMLError:  # no driver, no permission, or a card before Volta
        return None
    return lambda: int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
