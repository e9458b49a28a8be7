"""The gate: may this candidate replace that baseline? Deterministic costs, latency and accuracy, worst of all.

Nothing stored is compared with anything measured later: both networks run now, on this machine, in turns. A verdict
is FAIL or PASS only where the measurements exclude the other; else it is INCONCLUSIVE, never a silent PASS.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorkit.decompose.artifacts import SCHEMA_VERSION, write_json
from lorkit.decompose.data.locked import LockedData
from lorkit.decompose.errors import DataError, MissingRuntimeError, UsageError
from lorkit.decompose.machine import fingerprint, tool_versions
from lorkit.decompose.progress import OnProgress, ignore
from lorkit.decompose.runs import Run, open_run
from lorkit.export.baselines import is_store, replace_baselines
from lorkit.export.budgets import judge_budget
from lorkit.export.contests import Contest, Selection, contests, home_of
from lorkit.export.costs import judge_costs
from lorkit.export.duel import fight
from lorkit.export.exported import Exported, read_exported
from lorkit.export.inference import load_engine
from lorkit.export.latency import Arm, random_inputs
from lorkit.export.noninferiority import Cases, cases_of_file, cases_of_split, judge_accuracy, undecided
from lorkit.export.unjudged import missing_baseline, unjudged_regions

if TYPE_CHECKING:
    from lorkit.export.targets.base import Engine

NAME = "gate.json"
ORDER = ("pass", "inconclusive", "fail")
POLICIES = ("inconclusive", "pass", "fail")
_BUDGET_SHARE = 0.1
THREADS = 1
"""Both arms run on one thread: a second one would wait for whatever else the machine does."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a candidate may cost and lose, as fractions of the baseline, and the seed of all randomness."""

    margin: float
    max_accuracy_drop: float
    seed: int


def gate(
    run: Path | str | None = None,
    *,
    baseline: Path | str | None = None,
    candidate: Path | str | None = None,
    region: str | None = None,
    target: str | None = None,
    profile: str | None = None,
    precision: str | None = None,
    margin: float = 0.03,
    max_accuracy_drop: float = 0.02,
    data: Path | str | None = None,
    max_seconds: float = 60.0,
    on_inconclusive: str = "inconclusive",
    update_baseline: Path | str | None = None,
    because: str | None = None,
    seed: int = 0,
    on_progress: OnProgress = ignore,
) -> dict[str, Any]:
    """Judge candidates against baselines.

    Args:
        run: The run, by path or id; default the newest, or the one that a named export came from.
        baseline: An export directory, or a store of baselines; default the run's foundation exports.
        candidate: An export directory; default the run's expert exports.
        region: Regions of the run to judge, separated by commas.
        target: Only exports of this target.
        profile: Only exports for this profile.
        precision: Only exports of this precision.
        margin: Allowed growth of latency, bytes and MACs.
        max_accuracy_drop: Allowed drop of balanced accuracy, or of mean Dice.
        data: Cases to judge accuracy on; default the run's locked test split.
        max_seconds: Time for all latency measurements together; what one region leaves goes to the next.
        on_inconclusive: Stored in the document for `exit_code`; the verdict itself does not change.
        update_baseline: A store in which the candidates become the baselines where the whole verdict is PASS.
        because: Why they become the baselines although it is not; recorded.
        seed: Seed of inputs, orders and intervals.
        on_progress: Told what is being judged.

    Returns:
        DESIGN's document; also stored in the run's `measurements/gate.json` where there is a run.

    Raises:
        UsageError: Options that make no sense, or nothing to compare.
        DataError: The file of `data`, or the run's data, cannot be used.
    """
    limits = _limits(margin, max_accuracy_drop, max_seconds, on_inconclusive, seed)
    paths = [None if path is None else Path(path) for path in (baseline, candidate)]
    named = paths[1] or (None if paths[0] is None or is_store(paths[0]) else paths[0])
    home = _home(run, named, alone=None not in paths)
    selection = Selection(region=region, target=target, profile=profile, precision=precision)
    reason = missing_baseline(home) if paths == [None, None] else None
    pairs = [] if reason else contests(home, selection, baseline=paths[0], candidate=paths[1])
    if data is not None and len(pairs) > 1:
        raise UsageError(f"--data {data} for {len(pairs)} regions", required="one region", fix="name it with --region")
    document = _document(pairs, home, limits, on_inconclusive)
    if reason is not None and home is not None:
        document["synthetic"] = home.manifest.synthetic
        allowed = {"margin": margin, "drop": max_accuracy_drop}
        document["regions"] |= unjudged_regions(home, selection, reason, **allowed)
    seconds = max_seconds
    for index, pair in enumerate(pairs):
        on_progress(pair.region, index, len(pairs))
        cases = _cases(pair, home, None if data is None else Path(data))
        found = _judge(pair, cases, limits, seconds / (len(pairs) - index))
        seconds -= min(seconds, found["latency"].get("seconds") or 0.0)
        document["regions"][pair.region] = found
    on_progress("done", len(pairs), len(pairs))
    document["verdict"] = worst(found["verdict"] for found in document["regions"].values())
    if update_baseline is not None:
        document["replaced_baselines"] = replace_baselines(Path(update_baseline), document, because)
    if home is not None:
        home.measurements_dir.mkdir(parents=True, exist_ok=True)
        write_json(home.measurements_dir / NAME, document)
    return document


def exit_code(document: Mapping[str, Any], on_inconclusive: str | None = None) -> int:
    """Return the exit code of a gate: 0 PASS, 1 FAIL, 3 INCONCLUSIVE unless the policy maps it to 0 or 1."""
    policy = on_inconclusive or str(document.get("on_inconclusive", "inconclusive"))
    verdict = document["verdict"]
    if verdict == "inconclusive":
        return {"pass": 0, "fail": 1}.get(policy, 3)
    return int(verdict != "pass")


def worst(verdicts: Iterable[str]) -> str:
    """Return the worst verdict: fail, then inconclusive, then pass."""
    return max(verdicts, key=ORDER.index)


def _limits(margin: float, drop: float, max_seconds: float, on_inconclusive: str, seed: int) -> Limits:
    if not (0 <= margin < 10 and 0 <= drop < 1 and max_seconds > 0):
        raise UsageError(
            f"margin {margin}, accuracy drop {drop}, {max_seconds} s",
            required="fractions (0.03 is 3 %) and a time above 0",
            fix="correct --margin, --max-accuracy-drop or --max-seconds",
        )
    if on_inconclusive not in POLICIES:
        raise UsageError(
            f"--on-inconclusive {on_inconclusive}", required=f"one of {', '.join(POLICIES)}", fix="name one of them"
        )
    return Limits(margin=margin, max_accuracy_drop=drop, seed=seed)


def _home(run: Path | str | None, named: Path | None, *, alone: bool) -> Run | None:
    """Find the run: as named, else that of the named export, else the newest unless both exports are named."""
    if run is not None:
        return open_run(run)
    found = home_of(read_exported(named)) if named is not None else None
    return found if found is not None or alone else open_run(None)


def _cases(pair: Contest, home: Run | None, data: Path | None) -> tuple[Cases | None, str]:
    """Find what accuracy is judged on: the file, else the run's locked test split; with where it is from, or why not.

    Raises:
        DataError: The named file cannot be used. A locked split that is gone only leaves accuracy undecided.
    """
    if data is not None:
        return cases_of_file(data, pair), str(data)
    if home is None:
        return None, "neither --data nor a run with a locked test split is here"
    if pair.region not in home.regions.names:
        return None, f"the run {home.id} has no region '{pair.region}', and there is no --data"
    try:
        return cases_of_split(LockedData(home, pair.region), pair.region), f"locked test split of {home.id}"
    except DataError as error:
        return None, f"the locked test split cannot be read ({error})"


def _document(pairs: list[Contest], home: Run | None, limits: Limits, policy: str) -> dict[str, Any]:
    synthetic = any(pair.candidate.synthetic or pair.baseline.synthetic for pair in pairs)
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "gate",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "verdict": "inconclusive",
        "on_inconclusive": policy,
        "margin": limits.margin,
        "max_accuracy_drop": limits.max_accuracy_drop,
        "seed": limits.seed,
        "run": None if home is None else home.id,
        "synthetic": synthetic,
        "machine": fingerprint(),
        "tools": tool_versions(),
        "warnings": (["Judged on synthetic phantoms: this says nothing about patients."] if synthetic else [])
        + [_others(pair) for pair in pairs if pair.beside],
        "regions": {},
    }


def _others(pair: Contest) -> str:
    _, target, profile, precision = pair.candidate.key
    return (
        f"region {pair.region}: {target} {profile} {precision} was judged; exported too, and not judged: "
        f"{', '.join(pair.beside)}; name one with --target, --profile and --precision."
    )


def _judge(pair: Contest, cases: tuple[Cases | None, str], limits: Limits, seconds: float) -> dict[str, Any]:
    """Judge one region; engines are closed again before the next one."""
    costs, reasons = judge_costs(pair, limits.margin)
    latency: dict[str, Any] = {"verdict": "inconclusive", "ratio": None, "ci": None, "margin": limits.margin}
    latency |= {"pairs": 0, "noise_floor": None}
    accuracy = undecided(pair.candidate, limits.max_accuracy_drop)
    budget: dict[str, Any] | None = None
    try:
        latency, sentence = _judge_latency(pair, limits, seconds)
        reasons.append(sentence)
        if cases[0] is None:
            reasons.append(f"Accuracy was not judged: {cases[1]}.")
        else:
            accuracy, sentence = _judge_accuracy(pair, cases[0], cases[1], limits)
            reasons.append(sentence)
        budget, sentences = judge_budget(pair.candidate, seconds=_BUDGET_SHARE * seconds, seed=limits.seed)
        reasons += sentences
    except MissingRuntimeError as error:
        reasons.append(f"Nothing could be measured here: {error}.")
    return {
        "verdict": worst(
            block["verdict"] for block in (costs, latency, accuracy, budget or {}) if block.get("verdict") in ORDER
        ),
        "latency": latency,
        "accuracy": accuracy,
        "deterministic": costs,
        "budget": budget,
        "reasons": reasons,
        "baseline": pair.baseline.describe(),
        "candidate": pair.candidate.describe(),
    }


def _judge_latency(pair: Contest, limits: Limits, seconds: float) -> tuple[dict[str, Any], str]:
    subjects = (pair.baseline, pair.candidate, pair.baseline)
    with _engines(subjects, THREADS) as engines:
        baseline, candidate, control = (
            Arm(name, engine.run, random_inputs((1, *one.shape), seed=limits.seed))
            for name, one, engine in zip(("baseline", "candidate", "control"), subjects, engines, strict=True)
        )
        duel = fight(baseline, candidate, control, margin=limits.margin, seconds=seconds, seed=limits.seed)
    return {**duel.to_json(), "batch": 1, "threads": THREADS, "provider": engines[1].provider}, duel.reason


def _judge_accuracy(pair: Contest, cases: Cases, source: str, limits: Limits) -> tuple[dict[str, Any], str]:
    with _engines((pair.baseline, pair.candidate), None) as (baseline, candidate):
        allowed = limits.max_accuracy_drop
        return judge_accuracy(pair, (baseline, candidate), cases, allowed=allowed, source=source, seed=limits.seed)


@contextmanager
def _engines(subjects: Iterable[Exported], threads: int | None) -> Iterator[Sequence[Engine]]:
    """Load engines, each on its own, and close them again."""
    with ExitStack() as stack:
        engines = []
        for subject in subjects:
            engines.append(load_engine(subject.path, threads=threads))
            stack.callback(engines[-1].close)
        yield engines
