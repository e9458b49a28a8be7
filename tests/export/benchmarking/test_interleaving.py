import itertools
from collections.abc import Callable

import numpy as np
import pytest

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.export.benchmarking.interleaving import (
    TimedEngine,
    random_inputs,
    runs_per_block,
    time_interleaved,
    warm_up,
)

pytestmark = pytest.mark.usefixtures("timed_as_usual")


class Bench:
    """Engines on a clock of their own: a run takes exactly as long as it is told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def clock(self) -> float:
        return self.now

    def engine(self, name: str, seconds: Callable[[int], float]) -> TimedEngine:
        turns = itertools.count()

        def run(image: Float32Array) -> None:
            self.now += seconds(next(turns))
            self.order.append(name)

        return TimedEngine(name, run, random_inputs((1, 1, 2, 2), seed=0))


def test_times_are_milliseconds_a_run() -> None:
    bench = Bench()
    engines = [bench.engine("a", lambda turn: 0.002), bench.engine("b", lambda turn: 0.003)]
    times = time_interleaved(engines, 5, runs=3, generator=np.random.default_rng(0), clock=bench.clock)
    np.testing.assert_allclose(times, np.tile([2.0, 3.0], (5, 1)))


def test_every_cycle_runs_every_engine_once_in_an_order_of_its_own() -> None:
    bench = Bench()
    engines = [bench.engine(name, lambda turn: 0.001) for name in "abc"]
    time_interleaved(engines, 60, runs=1, generator=np.random.default_rng(0), clock=bench.clock)
    cycles = ["".join(bench.order[start : start + 3]) for start in range(0, 180, 3)]
    assert {"".join(sorted(cycle)) for cycle in cycles} == {"abc"}
    assert len(set(cycles)) == 6


def test_no_cycle_begins_after_the_deadline() -> None:
    bench = Bench()
    engines = [bench.engine("a", lambda turn: 1.0), bench.engine("b", lambda turn: 1.0)]
    times = time_interleaved(engines, 100, runs=1, generator=np.random.default_rng(0), deadline=5.0, clock=bench.clock)
    assert times.shape == (3, 2)


def test_inputs_rotate() -> None:
    seen = []
    inputs = random_inputs((1, 1, 2, 2), seed=0)
    engine = TimedEngine("a", lambda image: seen.append(id(image)), inputs)
    time_interleaved([engine], 8, runs=1, generator=np.random.default_rng(0), start=1)
    assert seen == [id(inputs[turn % len(inputs)]) for turn in range(1, 9)]


def test_warm_up_waits_until_it_stops_getting_faster() -> None:
    bench = Bench()
    settled = warm_up(bench.engine("a", lambda turn: 0.001 + 0.5 * 0.8**turn), clock=bench.clock)
    assert settled == pytest.approx(1.0, rel=0.2)
    assert len(bench.order) > 30


def test_warm_up_ends_in_any_case_and_runs_at_least_once() -> None:
    bench = Bench()
    assert warm_up(bench.engine("a", lambda turn: 60.0), clock=bench.clock) == pytest.approx(60_000)
    assert len(bench.order) == 1


def test_blocks_last_long_enough_but_not_too_long() -> None:
    assert [runs_per_block(ms) for ms in (0.001, 0.25, 0.9, 30.0)] == [16, 4, 2, 1]
