"""One region at the gate: everything that is measured of a candidate and its baseline, and what it comes to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lorkit.decompose.artifacts import MANIFEST, read_manifest
from lorkit.decompose.errors import MissingRuntimeError
from lorkit.decompose.runs import Run
from lorkit.export.benchmarking.interleaving import Arm, random_inputs
from lorkit.export.gating.budgets import judge_budget
from lorkit.export.gating.costs import judge_costs
from lorkit.export.gating.limits import Limits
from lorkit.export.gating.pairing import ExportPair
from lorkit.export.noninferiority.accuracy import Terms, judge_accuracy, undecided
from lorkit.export.noninferiority.cases import CaseSet
from lorkit.export.noninferiority.latency import fight
from lorkit.export.noninferiority.multiplicity import explain, settle
from lorkit.export.runtime.engine import load_engine
from lorkit.export.runtime.exported import Exported

if TYPE_CHECKING:
    from lorkit.export.targets.base import Engine

ORDER = ("pass", "inconclusive", "fail")
THREADS = 1
"""Both arms run on one thread: a second one would wait for whatever else the machine does."""
_BUDGET_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was found of one region.

    Attributes:
        pair: Who stood against whom.
        costs: The `deterministic` block.
        latency: The `latency` block.
        accuracy: The `accuracy` block; its verdict may change when other regions stand beside it.
        budget: The `budget` block, None where nothing could run.
        said: Sentences by check.
        unjudged: Why there is no accuracy, None where there is.
    """

    pair: ExportPair
    costs: dict[str, Any]
    latency: dict[str, Any]
    accuracy: dict[str, Any]
    budget: dict[str, Any] | None = None
    said: dict[str, list[str]] = field(default_factory=dict)
    unjudged: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a region's block of the gate's document."""
        checks = (self.costs, self.latency, self.accuracy, self.budget or {})
        by_check = self._reasons()
        return {
            "verdict": worst(check["verdict"] for check in checks if check.get("verdict") in ORDER),
            "latency": self.latency,
            "accuracy": self.accuracy,
            "deterministic": self.costs,
            "budget": self.budget,
            "reasons": list(dict.fromkeys(sentence for sentences in by_check.values() for sentence in sentences)),
            "reasons_by_check": by_check,
            "baseline": self.pair.baseline.describe(),
            "candidate": self.pair.candidate.describe(),
        }

    def _reasons(self) -> dict[str, list[str]]:
        """Return the sentences a check; what nothing could run for stands at each check that it left open."""
        missing = self.said.get("missing", [])
        about = [f"Accuracy was not judged: {self.unjudged}."] if self.unjudged else missing
        return {
            "deterministic": self.said.get("costs", []),
            "latency": self.said.get("latency", missing),
            "accuracy": about if self.accuracy.get("ci") is None else explain(self.accuracy),
            "budget": self.said.get("budget", missing),
        }


def judge(pair: ExportPair, cases: CaseSet | str, terms: Terms, *, margin: float, seconds: float) -> Findings:
    """Judge one region; engines are closed again before the next one.

    Args:
        pair: Baseline and candidate.
        cases: What accuracy is judged on, or why it is not.
        terms: On which terms it is.
        margin: Allowed growth of latency and of costs that are counted.
        seconds: Time for the latency measurement.
    """
    costs, reasons = judge_costs(pair, margin)
    latency: dict[str, Any] = {"verdict": "inconclusive", "ratio": None, "ci": None, "margin": margin}
    latency |= {"pairs": 0, "noise_floor": None}
    accuracy, budget = undecided(pair.candidate, terms.allowed), None
    said = {"costs": reasons}
    try:
        if isinstance(cases, CaseSet):  # first: cases that cannot be used are then said before a minute of timing
            with _engines((pair.baseline, pair.candidate), None) as (baseline, candidate):
                accuracy = judge_accuracy(pair, (baseline, candidate), cases, terms)
        latency, sentence = _judge_latency(pair, margin, seconds, terms.seed)
        said["latency"] = [sentence]
        budget, said["budget"] = judge_budget(pair.candidate, seconds=_BUDGET_SHARE * seconds, seed=terms.seed)
    except MissingRuntimeError as error:
        said["missing"] = [f"Nothing could be measured here: {error}."]
    unjudged = cases if isinstance(cases, str) and "missing" not in said else None
    return Findings(
        pair=pair, costs=costs, latency=latency, accuracy=accuracy, budget=budget, said=said, unjudged=unjudged
    )


def settled(findings: Sequence[Findings]) -> list[Findings]:
    """Give the regions of a gate verdicts on accuracy that hold for all of them together."""
    blocks = settle([found.accuracy for found in findings])
    return [replace(found, accuracy=block) for found, block in zip(findings, blocks, strict=True)]


def worst(verdicts: Iterable[str]) -> str:
    """Return the worst verdict: fail, then inconclusive, then pass."""
    return max(verdicts, key=ORDER.index)


def _judge_latency(pair: ExportPair, margin: float, seconds: float, seed: int) -> tuple[dict[str, Any], str]:
    subjects = (pair.baseline, pair.candidate, pair.baseline)
    with _engines(subjects, THREADS) as engines:
        baseline, candidate, control = (
            Arm(name, engine.run, random_inputs((1, *one.shape), seed=seed))
            for name, one, engine in zip(("baseline", "candidate", "control"), subjects, engines, strict=True)
        )
        duel = fight(baseline, candidate, control, margin=margin, seconds=seconds, seed=seed)
    return {**duel.to_json(), "batch": 1, "threads": THREADS, "provider": engines[1].provider}, duel.reason


@contextmanager
def _engines(subjects: Iterable[Exported], threads: int | None) -> Iterator[Sequence[Engine]]:
    """Load engines, each on its own, and close them again."""
    with ExitStack() as stack:
        engines = []
        for subject in subjects:
            engines.append(load_engine(subject.path, threads=threads))
            stack.callback(engines[-1].close)
        yield engines


def missing_baseline(run: Run | None) -> str | None:
    """Return why a run's foundation is not exported, in one line; None where it can be, or where there is none."""
    if run is None or not (run.foundation_dir / MANIFEST).is_file():
        return None
    extra = read_manifest(run.foundation_dir, verify=False).extra
    return str(extra["reason"]) if extra.get("exportable") is False else None


def unjudged_regions(candidates: Iterable[Exported], reason: str, limits: Limits) -> dict[str, Any]:
    """Return a block a region, INCONCLUSIVE, with the reason."""
    return {one.region: _block(one, reason, limits) for one in candidates}


def _block(candidate: Exported, reason: str, limits: Limits) -> dict[str, Any]:
    margin = limits.margin
    latency = {"verdict": "inconclusive", "ratio": None, "ci": None, "margin": margin, "pairs": 0, "noise_floor": None}
    costs: dict[str, Any] = {"verdict": "inconclusive", "margin": margin}
    for name, key in (("bytes", "size_bytes"), ("macs", "macs")):
        own = candidate.info.get(key)
        costs[name] = {"baseline": None, "candidate": own, "ratio": None, "verdict": "not_judged"}
    return {
        "verdict": "inconclusive",
        "latency": latency,
        "accuracy": undecided(candidate, limits.allowed(candidate.region)),
        "deterministic": costs,
        "budget": None,
        "reasons": [reason],
        "reasons_by_check": {"deterministic": [reason], "latency": [reason], "accuracy": [reason], "budget": []},
        "baseline": {**candidate.describe(), "path": None, "digest": None, "owner": "foundation"},
        "candidate": candidate.describe(),
    }
