"""Which of two engines is faster, and how sure one can be: interleaved pairs, a control arm, sequential looks.

Three arms take turns: the baseline A, the candidate B, and the baseline again as A'. B against A is the question; A'
against A is the control: both are the same export, so whatever their interval shows is the noise of this machine at
this time. A' must be loaded on its own, like A and B: an engine that two arms share runs twice as often as the
candidate, its weights stay in the caches, and equal networks look unequal. A verdict needs the question's interval
clear of the margin, and where the control shows more noise than the margin, clear of it by that noise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lorkit.export.latency import Arm, Floats, block_runs, interleave, warm_up
from lorkit.export.statistics import FIRST_LOOK, Looks, Ratio, paired_ratio

BASELINE, CANDIDATE, CONTROL = range(3)
_WARM_SHARE = 0.1
_FEWEST = 8
"""Fewest pairs that are judged at all."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was seen at one look: the question, the control, and what follows."""

    question: Ratio
    control: Ratio
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Duel:
    """Outcome of one comparison; `times_PA` holds the raw milliseconds a run of (A, B, A')."""

    verdict: str
    reason: str
    margin: float
    looks: tuple[Look, ...]
    times_PA: Floats
    runs: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the gate's `latency` block: the last look on top, the earlier ones and the raw samples below."""
        names = ("baseline", "candidate", "control")
        last = self.looks[-1] if self.looks else None
        median = np.median(self.times_PA, axis=0) if len(self.times_PA) else None
        fastest = self.times_PA.min(axis=0) if len(self.times_PA) else None
        return {
            "verdict": self.verdict,
            "ratio": last.question.ratio if last else None,
            "ci": list(last.question.ci) if last else None,
            "level": last.question.level if last else None,
            "margin": self.margin,
            "pairs": len(self.times_PA),
            "noise_floor": last.control.deviation if last else None,
            "control": last.control.to_json() if last else None,
            "ratio_of_minima": float(fastest[CANDIDATE] / fastest[BASELINE]) if fastest is not None else None,
            "median_ms": {name: float(median[index]) for index, name in enumerate(names)}
            if median is not None
            else None,
            "runs_per_sample": self.runs,
            "seconds": round(self.seconds, 3),
            "looks": [
                {**look.question.to_json(), "noise_floor": look.control.deviation, "verdict": look.verdict}
                for look in self.looks
            ],
            "samples_ms": {
                name: [round(float(value), 6) for value in self.times_PA[:, index]] for index, name in enumerate(names)
            },
        }


def fight(
    baseline: Arm,
    candidate: Arm,
    control: Arm,
    *,
    margin: float,
    seconds: float,
    seed: int,
    on_look: Callable[[Look], None] = lambda look: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Duel:
    """Time two arms until it is decided whether the candidate is slower by more than the margin, or time is up.

    Args:
        baseline: The arm to beat.
        candidate: The arm in question.
        control: The baseline loaded a second time.
        margin: Allowed slow-down as a fraction: 0.03 allows a ratio of 1.03.
        seconds: Time for warm-up and pairs together.
        seed: Seed of orders and intervals.
        on_look: Told of every look.
        clock: Seconds, monotonic.
    """
    begin = clock()
    arms = (baseline, candidate, control)
    warm = [warm_up(arm, limit_seconds=_WARM_SHARE * seconds, clock=clock) for arm in arms]
    runs = block_runs(min(warm))
    generator = np.random.default_rng(seed)
    cycle_seconds = runs * sum(warm) / 1e3
    plan = Looks.within(int((begin + seconds - clock()) / cycle_seconds), first=FIRST_LOOK)
    times_PA = np.empty((0, len(arms)))
    looks: list[Look] = []
    for index, size in enumerate(plan.pairs):
        last = index == len(plan.pairs) - 1
        times_PA = _extend(arms, times_PA, size, runs, generator, begin + seconds, clock)
        short = len(times_PA) < size
        if len(times_PA) < _FEWEST:
            break
        looks.append(judge(times_PA, margin=margin, level=plan.level(index, last=last or short), seed=seed))
        on_look(looks[-1])
        if looks[-1].verdict != "inconclusive" or short:
            break
    verdict = looks[-1].verdict if looks else "inconclusive"
    return Duel(
        verdict=verdict,
        reason=explain(looks[-1], margin) if looks else _too_few(len(times_PA), seconds),
        margin=margin,
        looks=tuple(looks),
        times_PA=times_PA,
        runs=runs,
        seconds=clock() - begin,
    )


def judge(times_PA: Floats, *, margin: float, level: float, seed: int) -> Look:
    """Judge recorded times (P, 3) of baseline, candidate and control at one confidence level."""
    question = paired_ratio(times_PA[:, BASELINE], times_PA[:, CANDIDATE], level=level, seed=seed)
    control = paired_ratio(times_PA[:, BASELINE], times_PA[:, CONTROL], level=level, seed=seed)
    # a control that stays within the margin costs nothing; a noisier one must be cleared as well
    slack = 1.0 + (control.deviation if control.deviation > margin else 0.0)
    if question.ci[0] > (1.0 + margin) * slack:
        verdict = "fail"
    elif question.ci[1] * slack < 1.0 + margin:
        verdict = "pass"
    else:
        verdict = "inconclusive"
    return Look(question=question, control=control, verdict=verdict)


def explain(look: Look, margin: float) -> str:
    """Say in one plain sentence why a look ended as it did."""
    low, high = look.question.ci
    times = f"takes {look.question.ratio:.3f} times as long as the baseline (interval {low:.3f} to {high:.3f}"
    seen = f"The candidate {times}, {look.question.pairs} pairs)"
    limit = f"{1.0 + margin:.3f}"
    noise = look.control.deviation
    noisy = noise > margin
    if look.verdict == "fail":
        return f"{seen}: slower than the allowed {limit}" + (_cleared(noise) if noisy else "") + "."
    if look.verdict == "pass":
        return f"{seen}: within the allowed {limit}" + (_cleared(noise) if noisy else "") + "."
    if noisy:
        return (
            f"{seen}, but the same baseline against itself differs by up to {noise:.1%}, more than the margin of "
            f"{margin:.1%}: this machine is too noisy to tell; raise --max-seconds or use a quieter machine."
        )
    return f"{seen}: the interval contains the allowed {limit}; raise --max-seconds to decide."


def _cleared(noise: float) -> str:
    return f", even though the machine's own noise reached {noise:.1%}"


def _too_few(pairs: int, seconds: float) -> str:
    return (
        f"Only {pairs} pairs could be timed in {seconds:.0f} s, and at least {_FEWEST} are needed; raise --max-seconds."
    )


def _extend(
    arms: Sequence[Arm],
    times_PA: Floats,
    size: int,
    runs: int,
    generator: np.random.Generator,
    deadline: float,
    clock: Callable[[], float],
) -> Floats:
    missing, start = size - len(times_PA), len(times_PA)
    more = interleave(arms, missing, runs=runs, generator=generator, deadline=deadline, start=start, clock=clock)
    return np.concatenate([times_PA, more])
