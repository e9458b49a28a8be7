"""Time engines interleaved: warmed up, in random order, on prepared inputs.

The speed of a shared machine varies during a measurement. Engines that alternate within milliseconds run under the same
conditions, so their ratios stay valid when their milliseconds do not.

Shape legend: P cycles (pairs), A engines; all times in milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array, Floats
from lorkit.decompose.documents.heads import REGION

if TYPE_CHECKING:
    from lorkit.export.runtime.exported import Exported
    from lorkit.export.targets.base import Engine, Inputs

WARM_SECONDS = 0.2
WARM_RUNS = 10
WARM_LIMIT_SECONDS = 5.0
_STABLE = 0.98
# Single interrupts dominate much shorter blocks; longer ones are interrupted more often on a loaded
# machine (of 1 ms blocks a slow-down of 10 % showed as 9.6 %, of 2 ms blocks as 7.3 %).
BLOCK_MS = 1.0
MAX_BLOCK = 16
INPUTS = 4
_SLICE = 10


@dataclass(frozen=True)
class TimedEngine:
    """An engine to time: its function, and the inputs that it uses in turn."""

    name: str
    run: Callable[[Any], object]
    inputs: Sequence[Any]


def timed_engine(name: str, engine: Engine, subject: Exported, *, batch: int, seed: int) -> TimedEngine:
    """Return the engine of an export with random inputs."""
    return TimedEngine(name, engine.infer, network_inputs(subject, batch, seed=seed))


def network_inputs(subject: Exported, batch: int, *, seed: int, count: int = INPUTS) -> list[Inputs]:
    """Return `count` batches of random inputs of an export: images, and for some networks regions."""
    images = random_inputs((batch, *subject.shape), seed=seed, count=count)
    first, *more = subject.info.inputs
    if REGION not in more:
        return [{first: one} for one in images]
    generator = np.random.default_rng(seed)
    return [{first: one, REGION: generator.integers(len(subject.info.heads), size=batch)} for one in images]


def random_inputs(shape: tuple[int, ...], *, seed: int, count: int = INPUTS) -> list[Float32Array]:
    """Return random batches of shape (N, C, *spatial), uniform in [0, 1); several, so that none stays in the cache."""
    generator = np.random.default_rng(seed)
    return [generator.random(shape, dtype=np.float32) for _ in range(count)]


def warm_up(
    engine: TimedEngine, *, limit_seconds: float = WARM_LIMIT_SECONDS, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Run an engine until it stops getting faster; return its median time at the end.

    Stops after `WARM_RUNS` runs and `WARM_SECONDS` if the median of the last quarter of the runs is not below 98 % of
    that of the quarter before, and at `limit_seconds` in any case, after at least one run.
    """
    start = clock()
    times: list[float] = []
    while True:
        times.append(_time(engine, len(times), 1, clock))
        elapsed = clock() - start
        if elapsed >= limit_seconds:
            break
        if len(times) >= WARM_RUNS and elapsed >= WARM_SECONDS and _stable(times):
            break
    return float(np.median(times[-max(1, len(times) // 4) :]))


def runs_per_block(milliseconds: float) -> int:
    """Return the number of runs in one timed block of about `BLOCK_MS`."""
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
    """Time every engine once per cycle, in a new random order for each cycle.

    Args:
        engines: The engines, already warm.
        cycles: Number of cycles.
        runs: Consecutive runs in one block, equal for all engines; the time of a block is divided by it.
        generator: Draws the orders.
        deadline: On `clock`; no cycle begins after it.
        start: Cycles timed before, so that the inputs continue in turn.
        clock: Seconds, monotonic.

    Returns:
        (P, A) milliseconds per run, P <= cycles.
    """
    times_PA = np.empty((cycles, len(engines)))
    for cycle in range(cycles):
        if clock() >= deadline:
            return times_PA[:cycle]
        for index in generator.permutation(len(engines)):
            times_PA[cycle, index] = _time(engines[index], start + cycle, runs, clock)
    return times_PA


def time_samples(engines: Sequence[TimedEngine], samples: int, seconds: float, seed: int) -> tuple[Floats, int]:
    """Time engines until there are enough samples or time is up, for at least one slice of cycles."""
    deadline = time.perf_counter() + seconds
    runs = runs_per_block(
        min(warm_up(engine, limit_seconds=max(0.5, seconds / len(engines) / 2)) for engine in engines)
    )
    generator = np.random.default_rng(seed)
    first = time_interleaved(engines, min(_SLICE, samples), runs=runs, generator=generator)
    done, left = len(first), samples - len(first)
    rest = time_interleaved(engines, left, runs=runs, generator=generator, deadline=deadline, start=done)
    return np.concatenate([first, rest]), runs


def _time(engine: TimedEngine, turn: int, runs: int, clock: Callable[[], float]) -> float:
    image, run = engine.inputs[turn % len(engine.inputs)], engine.run
    begin = clock()
    for _ in range(runs):
        run(image)
    return (clock() - begin) / runs * 1e3


def _stable(times: Sequence[float]) -> bool:
    quarter = max(1, len(times) // 4)
    return float(np.median(times[-quarter:])) >= _STABLE * float(np.median(times[-2 * quarter : -quarter]))
