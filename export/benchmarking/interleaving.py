"""Time engines side by side: warmed up, interleaved in random order, on prepared inputs.

A machine that is shared speeds up and slows down while one measures. Engines that take turns within milliseconds see
the same machine, so their ratio stays true where each one's milliseconds do not.

Shape legend: P cycles (pairs), A engines; all times in milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array, Floats

WARM_SECONDS = 0.2
WARM_RUNS = 10
WARM_LIMIT_SECONDS = 5.0
_STABLE = 0.98
# Blocks much shorter than this are decided by single interrupts; longer ones are interrupted more often on a loaded
# machine (of 1 ms blocks a slow-down of 10 % showed as 9.6 %, of 2 ms blocks as 7.3 %).
BLOCK_MS = 1.0
MAX_BLOCK = 16
INPUTS = 4
_SLICE = 10


@dataclass(frozen=True)
class TimedEngine:
    """One engine to time: what to call, and the inputs that it takes in turn."""

    name: str
    run: Callable[[Float32Array], object]
    inputs: Sequence[Float32Array]


def random_inputs(shape: tuple[int, ...], *, seed: int, count: int = INPUTS) -> list[Float32Array]:
    """Draw batches of shape (N, C, *spatial), uniform in [0, 1); they rotate, so that none stays in the cache."""
    generator = np.random.default_rng(seed)
    return [generator.random(shape, dtype=np.float32) for _ in range(count)]


def warm_up(
    engine: TimedEngine,
    *,
    seconds: float = WARM_SECONDS,
    runs: int = WARM_RUNS,
    limit_seconds: float = WARM_LIMIT_SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Run an engine until it stops getting faster; return its median time then.

    Stops once there were `runs` runs and `seconds`, and the median of the last quarter of the runs is no longer below
    98 % of that of the quarter before; at `limit_seconds` in any case, but never before one run.
    """
    start = clock()
    times: list[float] = []
    while True:
        times.append(_time(engine, len(times), 1, clock))
        elapsed = clock() - start
        if elapsed >= limit_seconds:
            break
        if len(times) >= runs and elapsed >= seconds and _stable(times):
            break
    return float(np.median(times[-max(1, len(times) // 4) :]))


def runs_per_block(milliseconds: float) -> int:
    """Runs in one timed block, so that a block lasts about `BLOCK_MS`."""
    return int(np.clip(np.ceil(BLOCK_MS / max(milliseconds, 1e-6)), 1, MAX_BLOCK))


def time_interleaved(
    engines: Sequence[TimedEngine],
    cycles: int,
    *,
    runs: int,
    generator: np.random.Generator,
    deadline: float = float("inf"),
    start: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> Floats:
    """Time every engine once a cycle, in a new random order for each cycle.

    Args:
        engines: The engines, already warm.
        cycles: How many cycles to time.
        runs: Consecutive runs in one block, the same for all engines; a block's time is divided by it.
        generator: Draws the orders.
        deadline: On `clock`; no cycle begins after it.
        start: Cycles timed before, so that the inputs keep rotating.
        clock: Seconds, monotonic.

    Returns:
        (P, A) milliseconds a run, P <= cycles.
    """
    times_PA = np.empty((cycles, len(engines)))
    for cycle in range(cycles):
        if clock() >= deadline:
            return times_PA[:cycle]
        for index in generator.permutation(len(engines)):
            times_PA[cycle, index] = _time(engines[index], start + cycle, runs, clock)
    return times_PA


def time_samples(engines: Sequence[TimedEngine], samples: int, seconds: float, seed: int) -> tuple[Floats, int]:
    """Time engines until there are enough samples or time is up, but at least one slice of cycles."""
    deadline = time.perf_counter() + seconds
    runs = runs_per_block(
        min(warm_up(engine, limit_seconds=max(0.5, seconds / len(engines) / 2)) for engine in engines)
    )
    generator = np.random.default_rng(seed)
    parts = [time_interleaved(engines, min(_SLICE, samples), runs=runs, generator=generator)]
    done = len(parts[0])
    rest = time_interleaved(
        engines, max(0, samples - done), runs=runs, generator=generator, deadline=deadline, start=done
    )
    return np.concatenate([*parts, rest]), runs


def _time(engine: TimedEngine, turn: int, runs: int, clock: Callable[[], float]) -> float:
    image, run = engine.inputs[turn % len(engine.inputs)], engine.run
    begin = clock()
    for _ in range(runs):
        run(image)
    return (clock() - begin) / runs * 1e3


def _stable(times: Sequence[float]) -> bool:
    quarter = max(1, len(times) // 4)
    return float(np.median(times[-quarter:])) >= _STABLE * float(np.median(times[-2 * quarter : -quarter]))
