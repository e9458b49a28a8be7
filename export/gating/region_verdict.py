"""One region of the gate: measurements of a candidate and its baseline, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lorkit.decompose.documents.gate import CHECKS, Accuracy, Check, GateRegion, HeadVerdict, JudgedAccuracy, reasons_of
from lorkit.decompose.errors import MissingRuntimeError, fit_for_artifact
from lorkit.export.benchmarking.interleaving import network_inputs
from lorkit.export.gating.budgets import judge_budget
from lorkit.export.gating.costs import judge_costs, undecided_costs
from lorkit.export.gating.limits import VERDICTS, Limits, worst
from lorkit.export.noninferiority.accuracy import AccuracyTest, judge_accuracy, undecided_accuracy
from lorkit.export.noninferiority.cases import EvaluationCases
from lorkit.export.noninferiority.evidence import BATCH
from lorkit.export.noninferiority.explanation import explain_accuracy
from lorkit.export.noninferiority.latency import compare_engines, undecided_latency
from lorkit.export.noninferiority.multiplicity import adjust_for_multiplicity
from lorkit.export.runtime.batch_size import fitting
from lorkit.export.runtime.engine import load_opened
from lorkit.export.runtime.exported import Exported, ExportPair
from lorkit.export.runtime.heads import engine_of

if TYPE_CHECKING:
    from lorkit.export.targets.base import Engine
THREADS = 1
"""Both engines run on one thread: a second one would compete with other processes."""
_BUDGET_SHARE = 0.1
_SAME_FILE = "Both exports are the same file"


def judge_region(
    pair: ExportPair, cases: EvaluationCases | str, test: AccuracyTest, *, margin: float, seconds: float
) -> GateRegion:
    """Measure one region; engines are closed before the next one.

    `cases` are those of the accuracy test, or the reason why there are none; `seconds` is the time for latency. The
    block gets its verdict and reasons from `with_verdicts`.
    """
    costs, cost_reasons = judge_costs(pair, margin)
    latency, budget = undecided_latency(margin), None
    accuracy: Accuracy = undecided_accuracy(pair.candidate, test.allowed)
    same_file = pair.baseline.manifest.digest == pair.candidate.manifest.digest
    reasons: dict[Check, list[str]] = {"deterministic": cost_reasons}
    missing = []
    try:
        with _engines(pair) as engines:
            if isinstance(cases, EvaluationCases):  # first, to report unusable cases before timing
                accuracy = judge_accuracy(pair, engines[:2], cases, test)
                _run_largest_batch(engines[2], pair.baseline, test.seed)
            latency, sentence = compare_engines(
                pair, engines, margin=margin, seconds=seconds, seed=test.seed, threads=THREADS
            )
        reasons["latency_test"] = [sentence]
        budget, reasons["budget_test"] = judge_budget(pair.candidate, seconds=_BUDGET_SHARE * seconds, seed=test.seed)
        if same_file and latency.verdict != "pass":
            latency = latency.with_changes(verdict="pass")
            reasons["latency_test"].append(f"{_SAME_FILE}: the measured difference is noise.")
        if isinstance(cases, str):
            accuracy, reasons["accuracy_test"] = _without_cases(accuracy, test, cases, same_file=same_file)
    except MissingRuntimeError as error:
        missing = [f"Nothing could be measured here: {fit_for_artifact(error)}."]
    return GateRegion(
        verdict="inconclusive",
        latency_test=latency,
        accuracy_test=accuracy,
        deterministic=costs,
        budget_test=budget,
        reasons=[],
        reasons_by_check={name: reasons.get(name, missing) for name in CHECKS},
        baseline=pair.baseline.describe(),
        candidate=pair.candidate.describe(),
    )


def judge_heads(
    pairs: Sequence[ExportPair],
    cases: Sequence[EvaluationCases | str],
    tests: Sequence[AccuracyTest],
    *,
    margin: float,
    seconds: float,
) -> GateRegion:
    """Measure a candidate for several regions: latency and costs once, accuracy on the cases of each region.

    Args:
        pairs: By region the baseline, and the candidate as that of the region.
        cases: Those of each accuracy test, or the reason why there are none.
        tests: Settings for each region.
        margin: Allowed growth of latency, bytes and MACs, over the baseline of the first region.
        seconds: Time for latency.
    """
    heads = {pair.region: _judge_head(pair, some, test) for pair, some, test in zip(pairs, cases, tests, strict=True)}
    # its accuracy is known: only the rest is measured
    block = judge_region(pairs[0], "it is judged by region", tests[0], margin=margin, seconds=seconds)
    return block.with_changes(head_verdicts=heads)


def _judge_head(pair: ExportPair, cases: EvaluationCases | str, test: AccuracyTest) -> HeadVerdict:
    accuracy: Accuracy = undecided_accuracy(pair.candidate, test.allowed)
    reasons: list[str] = []
    try:
        if isinstance(cases, EvaluationCases):
            with _engine(pair.baseline) as baseline, _engine(pair.candidate) as candidate:
                accuracy = judge_accuracy(pair, (baseline, candidate), cases, test)
        else:
            same_file = pair.baseline.manifest.digest == pair.candidate.manifest.digest
            accuracy, reasons = _without_cases(accuracy, test, cases, same_file=same_file)
    except MissingRuntimeError as error:
        reasons = [f"Nothing could be measured here: {fit_for_artifact(error)}."]
    subject = pair.baseline.describe()
    return HeadVerdict(verdict=accuracy.verdict, accuracy_test=accuracy, reasons=reasons, baseline=subject)


def _without_cases(accuracy: Accuracy, test: AccuracyTest, why: str, *, same_file: bool) -> tuple[Accuracy, list[str]]:
    """Judge accuracy without cases: only a file against itself has a known drop, and least values need cases."""
    if same_file and test.min_accuracy is None and test.min_recall is None:
        none = accuracy.with_changes(verdict="pass", drop=0.0, identical="file")
        return none, [f"{_SAME_FILE}: the drop of accuracy is 0 by construction."]
    return accuracy, [f"Accuracy was not judged: {why}."]


def with_verdicts(regions: Mapping[str, GateRegion]) -> dict[str, GateRegion]:
    """Return measured regions with their verdicts and reasons; accuracy is corrected for the number of tests."""
    tested = [
        block.accuracy_test
        for region in regions.values()
        for block in (region.head_verdicts.values() if region.head_verdicts else [region])
    ]
    adjusted = iter(adjust_for_multiplicity(tested))
    return {
        name: _conclude(region, [next(adjusted) for _ in range(max(1, len(region.head_verdicts)))])
        for name, region in regions.items()
    }


def _conclude(region: GateRegion, tested: Sequence[Accuracy]) -> GateRegion:
    reasons, (accuracy, *_) = region.reasons_by_check, tested
    assert reasons is not None
    if region.head_verdicts:
        heads = {
            name: head.with_changes(accuracy_test=block, verdict=block.verdict, reasons=_said(block) or head.reasons)
            for (name, head), block in zip(region.head_verdicts.items(), tested, strict=True)
        }
        accuracy = max(tested, key=lambda block: (VERDICTS.index(block.verdict), block.drop or 0.0))
        said = [f"{name}: {text}" for name, head in heads.items() for text in head.reasons]
        region, reasons = region.with_changes(head_verdicts=heads), reasons | {"accuracy_test": said}
    elif isinstance(accuracy, JudgedAccuracy):
        reasons = reasons | {"accuracy_test": _said(accuracy)}
    verdicts = [region.deterministic.verdict, region.latency_test.verdict, accuracy.verdict]
    if region.budget_test is not None and region.budget_test.verdict != "not_applicable":
        verdicts.append(region.budget_test.verdict)
    return region.with_changes(
        verdict=worst(verdicts), accuracy_test=accuracy, reasons=reasons_of(reasons), reasons_by_check=reasons
    )


def _said(block: Accuracy) -> list[str]:
    return explain_accuracy(block) if isinstance(block, JudgedAccuracy) else []


def _run_largest_batch(engine: Engine, subject: Exported, seed: int) -> None:
    """Run a batch as large as those of the cases, so that the control has the same state as its engine.

    An engine keeps the memory of its largest batch, which may change its speed.
    """
    size = fitting(subject.region, subject.shape, most=BATCH)
    engine.infer(network_inputs(subject, size, seed=seed, count=1)[0])


@contextmanager
def _engines(pair: ExportPair) -> Iterator[tuple[Engine, Engine, Engine]]:
    """Load baseline, candidate and baseline again as control, separately, and close them at the end."""
    with _engine(pair.baseline) as baseline, _engine(pair.candidate) as candidate, _engine(pair.baseline) as control:
        yield baseline, candidate, control


def _engine(subject: Exported) -> Engine:
    return engine_of(load_opened(subject, threads=THREADS), subject)


def unjudged_region(candidate: Exported, reason: str, limits: Limits) -> GateRegion:
    """Return the INCONCLUSIVE block of a region without a baseline, with the reason."""
    subject, first = candidate.describe(), candidate.info.heads[0].region
    view = candidate.of_head(first)
    return GateRegion(
        verdict="inconclusive",
        latency_test=undecided_latency(limits.margin),
        accuracy_test=undecided_accuracy(view, limits.allowed(first)),
        deterministic=undecided_costs(candidate, limits.margin),
        budget_test=None,
        reasons=[reason],
        reasons_by_check={name: [] if name == "budget_test" else [reason] for name in CHECKS},
        baseline=subject.with_changes(path=None, digest=None, owner="foundation"),
        candidate=subject,
    )
