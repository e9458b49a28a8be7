import itertools
from collections.abc import Callable

import numpy as np
import pytest

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.documents.gate import Latency
from lorkit.export.benchmarking.interleaving import TimedEngine, random_inputs
from lorkit.export.noninferiority.latency import (
    MAX_CYCLES_PER_PAIR,
    cycles_per_pair,
    decide,
    explain_latency,
    judge_look,
    run_latency_test,
)


class Clock:
    """A clock that only timed engines move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def engine(self, name: str, seconds: Callable[[int], float]) -> TimedEngine:
        turns = itertools.count()

        def run(image: Float32Array) -> None:
            self.now += seconds(next(turns))

        return TimedEngine(name, run, random_inputs((1, 1, 2, 2), seed=0))


def noisy(seed: int, level: float, scale: float) -> Callable[[int], float]:
    generator = np.random.default_rng(seed)
    return lambda turn: level * float(np.exp(scale * generator.standard_t(3)))


def latency_test(
    ratio: float, *, noise: float = 0.02, seconds: float = 30.0, level: float = 0.01
) -> tuple[Latency, str]:
    clock = Clock()
    baseline = clock.engine("a", noisy(1, level, noise))
    candidate = clock.engine("b", noisy(2, level * ratio, noise))
    control = clock.engine("control", noisy(3, level, noise))
    return run_latency_test([baseline, candidate, control], margin=0.03, seconds=seconds, seed=0, clock=clock)


def test_a_candidate_twice_as_fast_passes_at_the_first_look() -> None:
    found, reason = latency_test(0.5)
    assert (found.verdict, found.pairs, len(found.looks)) == ("pass", 40, 1)
    assert (found.seconds or 9) < 3
    assert "within the allowed 1.030" in reason


def test_a_slow_candidate_fails() -> None:
    found, reason = latency_test(1.1)
    assert found.verdict == "fail"
    assert found.ratio == pytest.approx(1.1, abs=0.01)
    assert "above the allowed 1.030" in reason


def test_an_identical_candidate_passes_after_more_looks() -> None:
    found, _ = latency_test(1.0)
    assert found.verdict == "pass"
    assert len(found.looks) > 1
    assert [look.verdict for look in found.looks[:-1]] == ["inconclusive"] * (len(found.looks) - 1)


def test_at_the_margin_nothing_is_decided_and_time_is_kept() -> None:
    found, reason = latency_test(1.03, seconds=20.0)
    assert found.verdict == "inconclusive"
    assert 10 < (found.seconds or 0) < 20.5
    assert "--max-seconds" in reason


def test_noise_beyond_the_margin_is_said_to_be_noise() -> None:
    found, reason = latency_test(1.0, noise=0.6, seconds=5.0)
    assert found.verdict == "inconclusive"
    assert (found.noise_floor or 0) > 0.03
    assert "too noisy" in reason


def test_a_ratio_beyond_the_noise_is_decided_all_the_same() -> None:
    found, reason = latency_test(3.0, noise=0.15, seconds=8.0)
    assert found.verdict == "fail"
    assert "also with the noise of this machine" in reason


def test_the_noise_widens_the_demand() -> None:
    cycles = np.ones((100, 3)) * [1.0, 1.08, 1.1]
    look = judge_look(cycles, margin=0.03, level=0.95, seed=0)
    assert look.control.deviation == pytest.approx(0.1)
    assert look.verdict == "inconclusive"
    assert judge_look(cycles * [1, 2, 1], margin=0.03, level=0.95, seed=0).verdict == "fail"
    assert judge_look(cycles * [1, 0.5, 1], margin=0.03, level=0.95, seed=0).verdict == "pass"
    assert "too noisy" in explain_latency(look, 0.03)


def test_too_few_pairs_decide_nothing() -> None:
    found, reason = latency_test(0.5, level=3.0, seconds=20.0)
    assert (found.verdict, found.looks) == ("inconclusive", [])
    document = found.to_json()
    assert document["ratio"] is None
    assert document["pairs"] == len(document["timings_ms"]["baseline"])
    assert "8 are needed" in reason


def test_the_document_keeps_every_sample() -> None:
    document = latency_test(0.5)[0].to_json()
    assert {name: len(times) for name, times in document["timings_ms"].items()} == {
        "baseline": 40 * MAX_CYCLES_PER_PAIR,
        "candidate": 40 * MAX_CYCLES_PER_PAIR,
        "control": 40 * MAX_CYCLES_PER_PAIR,
    }
    assert (document["pairs"], document["cycles_per_pair"]) == (40, MAX_CYCLES_PER_PAIR)
    assert document["ci"][0] <= document["ratio"] <= document["ci"][1]
    assert document["ratio_of_minima"] == pytest.approx(0.5, rel=0.1)


def test_pairs_hold_more_cycles_only_where_time_allows() -> None:
    assert [cycles_per_pair(affordable) for affordable in (10, 799, 800, 10**6)] == [1, 1, 2, MAX_CYCLES_PER_PAIR]


def test_where_an_engine_lies_in_memory_cancels() -> None:
    """Engines loaded later run faster by a fixed step; the candidate, loaded between the baselines, is their equal."""
    cycles = np.ones((100, 3)) * [1.00, 0.99, 0.98]
    look = judge_look(cycles, margin=0.03, level=0.95, seed=0)
    assert look.question.ratio == pytest.approx(1.0, abs=1e-4)
    assert look.control.ratio == pytest.approx(0.98)
    assert look.verdict == "pass"


def test_interrupted_blocks_do_not_hide_a_slow_down() -> None:
    """A scheduler that stops every other block for 3 ms pulls the plain median to 1; the fastest blocks resist."""
    generator = np.random.default_rng(0)
    clean = np.array([1.0, 1.1, 1.0]) * np.exp(0.005 * generator.standard_normal((4000, 3)))
    times = clean + 3.0 * (generator.random((4000, 3)) < 0.4 * clean / clean.mean())
    looks, seen = decide(lambda old, size: times[:size], len(times), margin=0.03, seed=0)
    assert looks[-1].verdict == "fail"
    assert len(seen) < len(times)


def test_recorded_times_that_end_early_are_judged_at_the_last_level() -> None:
    times = np.ones((50, 3)) * [1.0, 0.5, 1.0]
    looks, seen = decide(lambda old, size: times[:size], 100, margin=0.03, seed=0)
    assert [look.verdict for look in looks] == ["pass"]
    looks, seen = decide(lambda old, size: times[: min(size, 7)], 100, margin=0.03, seed=0)
    assert (looks, len(seen)) == ((), 7)


def test_looks_together_err_no_more_often_than_stated() -> None:
    """The error allowed doubles from look to look and sums to less than 5 %; recorded times that end have the last."""
    generator = np.random.default_rng(0)
    times = np.array([1.0, 1.03, 1.0]) * np.exp(0.01 * generator.standard_normal((700, 3)))
    looks, _ = decide(lambda old, size: times[:size], 350, margin=0.03, seed=0)
    assert [look.question.pairs for look in looks] == [40, 80, 160, 350]
    for of in ("question", "control"):
        errors = [1 - getattr(look, of).level for look in looks]
        assert errors == pytest.approx([0.05 / 16, 0.05 / 8, 0.05 / 4, 0.05 / 2])
    early, _ = decide(lambda old, size: times[: min(size, 60)], 350, margin=0.03, seed=0)
    assert [(look.question.pairs, look.question.level) for look in early] == [
        (40, pytest.approx(1 - 0.05 / 16)),
        (60, pytest.approx(0.975)),
    ]
