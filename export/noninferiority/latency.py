"""Non-inferiority of a candidate's latency: interleaved pairs, a control, interim looks.

Three engines alternate: the baseline A, the candidate B, and the baseline again as A'. A' against A is the control:
both are the same export, so their interval shows the noise of this machine. A' must be loaded separately: an engine
that serves as both runs twice as often, its weights stay in the caches, and equal networks look unequal. Engines loaded
later ran up to 2 % faster here; so B is loaded between A and A', and its ratio is the mean of those against both, in
which this cancels.

A verdict needs the interval of the ratio beyond the margin, and, if the control shows more noise than the margin,
beyond it by that noise. Error rates of this rule: `benchmarks/gate.py`, docs/benchmarks/gate.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lorkit.decompose.artifacts.arrays import Floats
from lorkit.decompose.documents.base import Verdict, combine
from lorkit.decompose.documents.gate import Latency, Look
from lorkit.decompose.documents.measured import Medians, Ratio, Timings
from lorkit.export.benchmarking.interleaving import (
    TimedEngine,
    runs_per_block,
    time_interleaved,
    timed_engine,
    warm_up,
)
from lorkit.export.benchmarking.timing_statistics import FIRST_LOOK, InterimLooks, fastest_of_neighbours, paired_ratio
from lorkit.export.runtime.exported import ExportPair

if TYPE_CHECKING:
    from lorkit.export.targets.base import Engine

BASELINE, CANDIDATE, CONTROL = range(3)
_NAMES = ("baseline", "candidate", "control")
WARM_SHARE = 0.1
MAX_CYCLES_PER_PAIR = 2
"""Maximum number of cycles per pair, of which each engine's fastest block counts."""
_AMPLE = 400
"""Number of affordable cycles required for each cycle in a pair."""
_FEWEST = 8
"""Minimum number of pairs for a verdict."""
Extend = Callable[[Floats, int], Floats]
"""Extends times (P, 3) to a number of cycles, fewer if time is up."""


@dataclass(frozen=True, kw_only=True)
class InterimLook:
    """One interim look: the ratio of the candidate, the control, and the verdict."""

    question: Ratio
    control: Ratio
    verdict: Verdict


def undecided_latency(margin: float) -> Latency:
    """Return the block of a latency that was not measured."""
    return Latency(verdict="inconclusive", ratio=None, ci=None, margin=margin, pairs=0, noise_floor=None)


def compare_engines(
    pair: ExportPair,
    engines: Sequence[Engine],
    *,
    margin: float,
    seconds: float,
    seed: int,
    threads: int,
    batch: int = 1,
    comparisons: int = 1,
) -> tuple[Latency, str]:
    """Time the engines of two exports.

    Args:
        pair: Baseline and candidate.
        engines: Baseline, candidate, and the baseline loaded again, in this order.
        margin: Allowed slow-down as a fraction: 0.03 allows a ratio of 1.03.
        seconds: Time for warm-up and pairs together.
        seed: Seed of inputs, orders and intervals.
        threads: Threads that the engines were loaded with.
        batch: Images in a run.
        comparisons: Candidates of which one is chosen: by Bonferroni, the error is divided by their number.

    Returns:
        The gate's `latency_test`, and its verdict in a sentence.
    """
    subjects = (pair.baseline, pair.candidate, pair.baseline)
    timed = [
        timed_engine(name, engine, one, batch=batch, seed=seed)
        for name, one, engine in zip(_NAMES, subjects, engines, strict=True)
    ]
    found, reason = run_latency_test(timed, margin=margin, seconds=seconds, seed=seed, comparisons=comparisons)
    return found.with_changes(batch=batch, threads=threads, provider=engines[CANDIDATE].provider), reason


def run_latency_test(
    engines: Sequence[TimedEngine],
    *,
    margin: float,
    seconds: float,
    seed: int,
    comparisons: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Latency, str]:
    """Time two engines until it is decided whether the candidate is slower by more than the margin, or time is up.

    Args:
        engines: The current engine, the one that may replace it, and the current one loaded a second time.
        margin: Allowed slow-down as a fraction.
        seconds: Time for warm-up and pairs together.
        seed: Seed of orders and intervals.
        comparisons: Candidates of which one is chosen.
        clock: Seconds, monotonic.

    Returns:
        The `latency_test` with the raw milliseconds of every cycle, and its verdict in a sentence.
    """
    begin = clock()
    warm = [warm_up(engine, limit_seconds=WARM_SHARE * seconds, clock=clock) for engine in engines]
    runs = runs_per_block(min(warm))
    generator = np.random.default_rng(seed)
    affordable = int((begin + seconds - clock()) / (runs * sum(warm) / 1e3))

    def extend(times_PA: Floats, size: int) -> Floats:
        missing, start = size - len(times_PA), len(times_PA)
        deadline = begin + seconds
        more = time_interleaved(
            engines, missing, runs=runs, generator=generator, deadline=deadline, start=start, clock=clock
        )
        return np.concatenate([times_PA, more])

    looks, times_PA = decide(extend, affordable, margin=margin, seed=seed, comparisons=comparisons)
    cycles = cycles_per_pair(affordable)
    block = _to_document(looks, times_PA, cycles, margin).with_changes(
        runs_per_sample=runs, seconds=round(clock() - begin, 3)
    )
    if not looks:
        few = f"Only {len(times_PA)} pairs were timed in {seconds:.0f} s; {_FEWEST} are needed. Raise --max-seconds."
        return block, few
    return block, explain_latency(looks[-1], margin)


def _to_document(looks: Sequence[InterimLook], times_PA: Floats, cycles: int, margin: float) -> Latency:
    """Return the `latency_test`: the last look on top, all looks and the raw samples below."""
    last = looks[-1] if looks else None
    timed = len(times_PA) > 0
    fastest = times_PA.min(axis=0) if timed else None
    samples = np.round(times_PA.T, 6).tolist()
    return Latency(
        verdict=last.verdict if last else "inconclusive",
        ratio=last.question.ratio if last else None,
        ci=last.question.ci if last else None,
        level=last.question.level if last else None,
        margin=margin,
        pairs=len(times_PA) // cycles,
        cycles_per_pair=cycles,
        noise_floor=last.control.deviation if last else None,
        control=last.control if last else None,
        ratio_of_minima=None if fastest is None else fastest[CANDIDATE] / min(fastest[BASELINE], fastest[CONTROL]),
        medians_ms=Medians(**dict(zip(_NAMES, np.median(times_PA, axis=0).tolist(), strict=True))) if timed else None,
        looks=[
            combine(Look, look.question, noise_floor=look.control.deviation, verdict=look.verdict) for look in looks
        ],
        timings_ms=Timings(**dict(zip(_NAMES, samples, strict=True))),
    )


def cycles_per_pair(affordable: int) -> int:
    """Return the number of cycles per pair, from the affordable time only."""
    return int(np.clip(affordable // _AMPLE, 1, MAX_CYCLES_PER_PAIR))


def decide(
    extend: Extend, affordable: int, *, margin: float, seed: int, comparisons: int = 1
) -> tuple[tuple[InterimLook, ...], Floats]:
    """Look at growing times until they decide: the gate's rule, for measured or recorded times.

    Args:
        extend: Returns more times.
        affordable: Cycles that the time allows.
        margin: Allowed slow-down as a fraction.
        seed: Seed of the intervals.
        comparisons: Candidates of which one is chosen.

    Returns:
        The looks, the last with the verdict (none if there are too few pairs), and all times (P, 3).
    """
    times_PA = np.empty((0, 3))
    cycles = cycles_per_pair(affordable)
    plan = InterimLooks.within(affordable // cycles, first=FIRST_LOOK)
    looks: list[InterimLook] = []
    for index, pairs in enumerate(plan.pairs):
        times_PA = extend(times_PA, pairs * cycles)
        short = len(times_PA) < pairs * cycles
        last = short or index == len(plan.pairs) - 1
        if len(times_PA) // cycles < _FEWEST:
            break
        level = 1.0 - (1.0 - plan.level(index, last=last)) / comparisons
        looks.append(judge_look(fastest_of_neighbours(times_PA, cycles), margin=margin, level=level, seed=seed))
        if looks[-1].verdict != "inconclusive" or short:
            break
    return tuple(looks), times_PA


def judge_look(times_PA: Floats, *, margin: float, level: float, seed: int) -> InterimLook:
    """Judge times (P, 3) of baseline, candidate and control, one row per pair, at one confidence level."""
    question = paired_ratio(times_PA[:, [BASELINE, CONTROL]], times_PA[:, CANDIDATE], level=level, seed=seed)
    control = paired_ratio(times_PA[:, BASELINE], times_PA[:, CONTROL], level=level, seed=seed)
    # noise within the margin is ignored; larger noise is added to the margin
    slack = 1.0 + (control.deviation if control.deviation > margin else 0.0)
    if question.ci[0] > (1.0 + margin) * slack:
        verdict: Verdict = "fail"
    elif question.ci[1] * slack < 1.0 + margin:
        verdict = "pass"
    else:
        verdict = "inconclusive"
    return InterimLook(question=question, control=control, verdict=verdict)


def explain_latency(look: InterimLook, margin: float) -> str:
    """Explain the verdict of a look in one sentence."""
    low, high = look.question.ci
    times = f"takes {look.question.ratio:.3f} times as long as the baseline (interval {low:.3f} to {high:.3f}"
    seen = f"The candidate {times}, {look.question.pairs} pairs)"
    limit = f"{1.0 + margin:.3f}"
    noise = look.control.deviation
    noisy = noise > margin
    if look.verdict == "fail":
        return f"{seen}: above the allowed {limit}" + (_cleared(noise) if noisy else "") + "."
    if look.verdict == "pass":
        return f"{seen}: within the allowed {limit}" + (_cleared(noise) if noisy else "") + "."
    if noisy:
        return (
            f"{seen}, but the baseline differs from itself by up to {noise:.1%}, more than the margin of "
            f"{margin:.1%}. This machine is too noisy; raise --max-seconds or use a quieter machine."
        )
    return f"{seen}: the interval contains the allowed {limit}. Raise --max-seconds to decide."


def _cleared(noise: float) -> str:
    return f", also with the noise of this machine ({noise:.1%})"
