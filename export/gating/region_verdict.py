"""One region of the gate: measurements of a candidate and its baseline, and the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lorkit.decompose.documents.base import Verdict
from lorkit.decompose.documents.gate import (
    Accuracy,
    Budget,
    Deterministic,
    GateRegion,
    JudgedAccuracy,
    Latency,
    Reasons,
)
from lorkit.decompose.errors import MissingRuntimeError
from lorkit.export.benchmarking.interleaving import TimedEngine, random_inputs
from lorkit.export.gating.budgets import judge_budget
from lorkit.export.gating.costs import judge_costs, undecided_costs
from lorkit.export.gating.limits import Limits, worst
from lorkit.export.noninferiority.accuracy import BATCH, AccuracyTest, judge_accuracy, undecided_accuracy
from lorkit.export.noninferiority.cases import EvaluationCases
from lorkit.export.noninferiority.latency import run_latency_test, undecided_latency
from lorkit.export.noninferiority.multiplicity import adjust_for_multiplicity, explain_accuracy
from lorkit.export.runtime.batch_size import fitting
from lorkit.export.runtime.engine import load_engine
from lorkit.export.runtime.exported import Exported, ExportPair

if TYPE_CHECKING:
    from lorkit.export.targets.base import Engine
THREADS = 1
"""Both engines run on one thread: a second one would compete with other processes."""
_Engines = tuple["Engine", "Engine", "Engine"]
"""Baseline, candidate, and the baseline loaded a second time."""
_BUDGET_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class RegionResult:
    """Results of one region.

    Attributes:
        pair: Baseline and candidate.
        costs: The `deterministic` block.
        latency: The `latency` block.
        accuracy: The `accuracy` block; its verdict may change when several regions are judged.
        budget: The `budget` block, None if nothing could run.
        reasons: Reasons by check: `costs`, `latency`, `budget`, and `missing` if nothing could run.
        missing_reason: Reason why accuracy was not judged, else None.
    """

    pair: ExportPair
    costs: Deterministic
    latency: Latency
    accuracy: Accuracy
    budget: Budget | None = None
    reasons: dict[str, list[str]] = field(default_factory=dict)
    missing_reason: str | None = None

    def to_document(self) -> GateRegion:
        """Return a region's block of the gate's document."""
        by_check = self._reasons_by_check()
        return GateRegion(
            verdict=self._verdict(),
            latency=self.latency,
            accuracy=self.accuracy,
            deterministic=self.costs,
            budget=self.budget,
            reasons=by_check.all,
            reasons_by_check=by_check,
            baseline=self.pair.baseline.describe(),
            candidate=self.pair.candidate.describe(),
        )

    def _verdict(self) -> Verdict:
        verdicts = [self.costs.verdict, self.latency.verdict, self.accuracy.verdict]
        if self.budget is not None and self.budget.verdict != "not_applicable":
            verdicts.append(self.budget.verdict)
        return worst(verdicts)

    def _reasons_by_check(self) -> Reasons:
        """Return the reasons by check; if nothing could run, every check without a result has that reason."""
        missing = self.reasons.get("missing", [])
        about = [f"Accuracy was not judged: {self.missing_reason}."] if self.missing_reason else missing
        return Reasons(
            deterministic=self.reasons.get("costs", []),
            latency=self.reasons.get("latency", missing),
            accuracy=explain_accuracy(self.accuracy) if isinstance(self.accuracy, JudgedAccuracy) else about,
            budget=self.reasons.get("budget", missing),
        )


def judge_region(
    pair: ExportPair, cases: EvaluationCases | str, test: AccuracyTest, *, margin: float, seconds: float
) -> RegionResult:
    """Judge one region; engines are closed before the next one.

    `cases` are those of the accuracy test, or the reason why there are none; `seconds` is the time for latency.
    """
    costs, cost_reasons = judge_costs(pair, margin)
    latency, budget = undecided_latency(margin), None
    accuracy: Accuracy = undecided_accuracy(pair.candidate, test.allowed)
    reasons = {"costs": cost_reasons}
    try:
        with _engines(pair) as engines:
            if isinstance(cases, EvaluationCases):  # first, to report unusable cases before timing
                accuracy = judge_accuracy(pair, engines[:2], cases, test)
                _run_largest_batch(engines[2], pair.baseline, test.seed)
            latency, sentence = _judge_latency(pair, engines, margin, seconds, test.seed)
        reasons["latency"] = [sentence]
        budget, reasons["budget"] = judge_budget(pair.candidate, seconds=_BUDGET_SHARE * seconds, seed=test.seed)
    except MissingRuntimeError as error:
        reasons["missing"] = [f"Nothing could be measured here: {error}."]
    return RegionResult(
        pair=pair,
        costs=costs,
        latency=latency,
        accuracy=accuracy,
        budget=budget,
        reasons=reasons,
        missing_reason=cases if isinstance(cases, str) and "missing" not in reasons else None,
    )


def with_adjusted_verdicts(results: Sequence[RegionResult]) -> list[RegionResult]:
    """Return the results with accuracy verdicts corrected for the number of regions."""
    blocks = adjust_for_multiplicity([result.accuracy for result in results])
    return [replace(result, accuracy=block) for result, block in zip(results, blocks, strict=True)]


def _judge_latency(
    pair: ExportPair, engines: _Engines, margin: float, seconds: float, seed: int
) -> tuple[Latency, str]:
    subjects = (pair.baseline, pair.candidate, pair.baseline)
    baseline, candidate, control = (
        TimedEngine(name, engine.run, random_inputs((1, *one.shape), seed=seed))
        for name, one, engine in zip(("baseline", "candidate", "control"), subjects, engines, strict=True)
    )
    test = run_latency_test(baseline, candidate, control, margin=margin, seconds=seconds, seed=seed)
    found = test.to_document().with_changes(batch=1, threads=THREADS, provider=engines[1].provider)
    return found, test.reason


def _run_largest_batch(engine: Engine, subject: Exported, seed: int) -> None:
    """Run a batch as large as those of the cases, so that the control has the same state as its engine.

    An engine keeps the memory of its largest batch, which may change its speed.
    """
    size = fitting(subject.region, subject.shape, most=BATCH)
    engine.run(random_inputs((size, *subject.shape), seed=seed, count=1)[0])


@contextmanager
def _engines(pair: ExportPair) -> Iterator[_Engines]:
    """Load baseline, candidate and baseline again as control, separately, and close them at the end."""
    with ExitStack() as stack:
        baseline, candidate, control = (
            stack.enter_context(load_engine(one.path, threads=THREADS))
            for one in (pair.baseline, pair.candidate, pair.baseline)
        )
        yield baseline, candidate, control


def unjudged_regions(candidates: Iterable[Exported], reason: str, limits: Limits) -> dict[str, GateRegion]:
    """Return one INCONCLUSIVE block per region, with the reason."""
    return {one.region.name: _block(one, reason, limits) for one in candidates}


def _block(candidate: Exported, reason: str, limits: Limits) -> GateRegion:
    subject = candidate.describe()
    return GateRegion(
        verdict="inconclusive",
        latency=undecided_latency(limits.margin),
        accuracy=undecided_accuracy(candidate, limits.allowed(candidate.region.name)),
        deterministic=undecided_costs(candidate, limits.margin),
        budget=None,
        reasons=[reason],
        reasons_by_check=Reasons(deterministic=[reason], latency=[reason], accuracy=[reason], budget=[]),
        baseline=subject.with_changes(path=None, digest=None, owner="foundation"),
        candidate=subject,
    )
