"""Absolute budgets of a profile: milliseconds and memory that a user states for named hardware.

Milliseconds are valid only on their hardware, so a limit is judged only if this machine's fingerprint matches the
profile. The built-in profiles state none.
"""

from __future__ import annotations

import numpy as np

from lorkit import profiles
from lorkit.decompose.documents.base import Verdict, parse
from lorkit.decompose.documents.gate_costs import Bounded, Budget
from lorkit.decompose.machine import fingerprint
from lorkit.export.benchmarking.footprint import footprint
from lorkit.export.benchmarking.interleaving import time_interleaved, timed_engine, warm_up
from lorkit.export.benchmarking.timing_statistics import percentile_bound, percentile_floor, samples_for
from lorkit.export.gating.limits import worst
from lorkit.export.runtime.engine import load_opened
from lorkit.export.runtime.exported import INFO, Exported

PERCENTILE = 0.95
SAMPLES = 400
"""Number of timed inferences, fewer if time is short."""


def stated_profile(subject: Exported) -> profiles.Profile | None:
    """Return the profile in an export's `export.json`, None in older exports; ArtifactError if it is invalid."""
    stated = subject.info.hardware
    where = f"hardware in {subject.path / INFO}"
    return None if stated is None else parse(profiles.Profile, stated, where, fix="export it again with --force")


def judge_budget(candidate: Exported, *, seconds: float, seed: int) -> tuple[Budget | None, list[str]]:
    """Judge a candidate by the budget of its profile.

    The 95 % bounds of the percentile come from order statistics: PASS if the upper one is within the budget, FAIL if
    the lower one exceeds it. Memory is the peak of a separate process.

    Args:
        candidate: The export.
        seconds: Time for the inferences; at least as many as the bound needs are timed.
        seed: Seed of the inputs.

    Returns:
        The gate's `budget_test` block and its reasons; None if the profile states no budget.

    Raises:
        MissingRuntimeError: The engine cannot run here.
    """
    profile = stated_profile(candidate)
    limits = {} if profile is None else {name: value for name, value in profile.budget if value is not None}
    if profile is None or not limits:
        return None, []
    block = Budget(verdict="not_applicable", profile=profile.name, limits=limits)
    if not profiles.matches(profile, fingerprint()):
        reason = f"The budget of profile {profile.name} was not judged: this machine does not match it."
        return block, [reason]
    reasons, judged = [], dict[str, Bounded]()
    if profile.budget.p95_ms is not None:
        judged["p95_ms"] = _latency(candidate, profile.budget.p95_ms, seconds, seed)
        reasons.append(_said(judged["p95_ms"], "ms at the 95th percentile"))
    if profile.budget.peak_mib is not None:
        found = footprint(candidate.path)["peak_mib"]
        verdict: Verdict = "pass" if found <= profile.budget.peak_mib else "fail"
        judged["peak_mib"] = Bounded(limit=profile.budget.peak_mib, bounds=(found, found), verdict=verdict)
        reasons.append(_said(judged["peak_mib"], "MiB at the peak"))
    return block.with_changes(measurements=judged, verdict=worst(one.verdict for one in judged.values())), reasons


def _latency(candidate: Exported, budget: float, seconds: float, seed: int) -> Bounded:
    with load_opened(candidate, threads=None) as engine:
        timed = timed_engine("candidate", engine, candidate, batch=1, seed=seed)
        count = int(np.clip(seconds * 1e3 / warm_up(timed), samples_for(PERCENTILE), SAMPLES))
        times = time_interleaved([timed], count, runs=1, generator=np.random.default_rng(seed))[:, 0]
    low, high = percentile_floor(times, PERCENTILE), percentile_bound(times, PERCENTILE)
    if high is not None and high <= budget:
        verdict: Verdict = "pass"
    else:
        verdict = "fail" if low is not None and low > budget else "inconclusive"
    return Bounded(
        limit=budget,
        bounds=(low, high),
        n=count,
        threads=None,
        verdict=verdict,
        samples_ms=np.round(times, 6).tolist(),
    )


def _said(found: Bounded, unit: str) -> str:
    low, high = found.bounds
    seen = f"{high:.1f}" if low == high else f"between {low:.2f} and {high:.2f} (95 % bounds)"
    words = {"pass": "within", "fail": "above", "inconclusive": "the interval contains"}
    return f"The candidate takes {seen} {unit}: {words[found.verdict]} the budget of {found.limit:g}."
