"""Device times of warm engines, interleaved in random order."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lorkit.decompose.documents.bench import DeviceTimes
from lorkit.export.benchmarking.interleaving import TimedEngine
from lorkit.export.targets.gpu_timer import on_gpu

if TYPE_CHECKING:
    from lorkit.export.targets.base import Engine


def device_times(
    engines: Sequence[Engine],
    networks: Sequence[TimedEngine],
    cycles: int,
    *,
    seed: int,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> list[DeviceTimes]:
    """Time warm engines on their GPU, interleaved in random order; return the fields of each row.

    There are at most `cycles` samples of each; no cycle after the first begins after `seconds`.
    """
    deadline, generator = clock() + seconds, np.random.default_rng(seed)
    timed = [(index, engine.device_timer) for index, engine in enumerate(engines) if engine.device_timer]
    samples: dict[int, list[float]] = {index: [] for index, _ in timed}
    for cycle in range(cycles if timed else 0):
        if cycle and clock() >= deadline:
            break
        for turn in generator.permutation(len(timed)):
            index, timer = timed[turn]
            inputs = networks[index].inputs
            samples[index].append(round(timer(inputs[cycle % len(inputs)]), 6))
    return [_fields(samples.get(index), engine.provider) for index, engine in enumerate(engines)]


def _fields(samples: list[float] | None, provider: str) -> DeviceTimes:
    if samples is not None:
        return DeviceTimes(device_median_ms=float(np.median(samples)), device_samples_ms=samples, device_note=None)
    why = "its stream is not accessible" if on_gpu(provider) else "it runs on the CPU"
    return DeviceTimes(device_median_ms=None, device_samples_ms=None, device_note=f"{provider}: {why}")
