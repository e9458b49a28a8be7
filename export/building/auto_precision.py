"""`--precision auto`: a lower precision stays only where it is measured faster and not worse.

Each candidate is exported as if it had been named, then held against the fp32 export of the same network on this
machine: latency by interleaved pairs with a control, accuracy by the paired bootstrap on the validation part. Both
must be decided in its favour; an undecided candidate is rejected. The test part is not used.
"""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorkit.decompose.artifacts import SCHEMA_VERSION, is_current, write_json
from lorkit.decompose.errors import ArtifactError, DataError, MissingRuntimeError, ParityError, UsageError
from lorkit.decompose.machine import fingerprint, tool_versions
from lorkit.decompose.runs import Run
from lorkit.export.benchmarking.interleaving import TimedEngine, random_inputs
from lorkit.export.building.builder import ExportJob, inputs_digest
from lorkit.export.building.sources import ExportableNetwork
from lorkit.export.noninferiority.accuracy import AccuracyTest, judge_accuracy
from lorkit.export.noninferiority.cases import cases_of_split
from lorkit.export.noninferiority.latency import run_latency_test
from lorkit.export.noninferiority.multiplicity import explain_accuracy
from lorkit.export.runtime.engine import load_engine
from lorkit.export.runtime.exported import Exported, ExportPair, read_exported
from lorkit.export.runtime.preference import record_path, recorded_regions

AUTO, BASELINE = "auto", "fp32"
BUILD_ERRORS = (ParityError, DataError, MissingRuntimeError, UsageError, ArtifactError)
"""Errors of building or running a lower precision: the candidate is then not kept."""
THREADS = 1
ExportOne = Callable[[ExportableNetwork, ExportJob], Path]


@dataclass(frozen=True, kw_only=True)
class AutoPrecisionLimits:
    """What a candidate may lose, and how long its latency may be measured.

    Attributes:
        max_accuracy_drop: Largest drop of the task's headline metric, a fraction.
        seconds: Time for the latency of one candidate.
        seed: Seed of inputs, orders and intervals.
    """

    max_accuracy_drop: float
    seconds: float
    seed: int = 0


def choose_precision(
    source: ExportableNetwork,
    jobs: Sequence[ExportJob],
    limits: AutoPrecisionLimits,
    export_one: ExportOne,
    *,
    force: bool = False,
) -> dict[str, Any]:
    """Export an expert at every precision, keep fp32 and the fastest that is proven faster and not worse.

    Args:
        source: An expert of a run.
        jobs: fp32 first, then the candidates.
        limits: What a candidate may lose.
        export_one: Exports a source and returns the directory.
        force: Measure again what was measured.

    Returns:
        The region's block: `chosen`, and one row a candidate with its `verdict` ("kept" or "lost"), `reason`,
        `latency` and `accuracy`.

    Raises:
        UsageError: An expert without its run: there is nothing to judge accuracy on.
    """
    run = source.run
    if run is None:
        raise UsageError(
            f"--precision {AUTO} for an expert without its run",
            required="the run, whose validation part accuracy is judged on",
            fix="name a precision, or the run",
        )
    key = {job.precision: inputs_digest(source, job) for job in jobs}
    there = {job.precision for job in jobs if (source.home / job.name).exists()}
    known = _earlier_choice(run, source, jobs, _conditions(key, limits))
    if known is not None and not force:
        return known
    baseline = read_exported(export_one(source, jobs[0]))
    rows = [_try_candidate(run, source, baseline, job, limits, export_one) for job in jobs[1:]]
    won = sorted((row for row in rows if row["verdict"] == "kept"), key=lambda row: float(row["latency"]["ratio"]))
    for row in won[1:]:
        row["verdict"] = "lost"
        row["reason"] = f"faster than fp32, but {won[0]['precision']} is faster"
    for row, job in zip(rows, jobs[1:], strict=True):
        if row["verdict"] == "lost" and job.precision not in there:  # what a user exported before is his
            shutil.rmtree(source.home / job.name, ignore_errors=True)
    chosen = won[0]["precision"] if won else BASELINE
    block = {
        "target": jobs[0].target.name,
        "profile": jobs[0].profile.name,
        "chosen": chosen,
        "candidates": rows,
        "conditions": _conditions(key, limits),
        "reasons": [f"{row['precision']}: {row['reason']}" for row in rows],
    }
    _record_choice(run, source.region.name, jobs[0], block)
    return block


def _conditions(key: Mapping[str, str], limits: AutoPrecisionLimits) -> dict[str, Any]:
    """Return what a choice depends on: networks, bounds, and the machine and libraries that measured."""
    asked = {"max_accuracy_drop": limits.max_accuracy_drop, "seconds": limits.seconds, "seed": limits.seed}
    return {"inputs": dict(key), **asked, "machine": fingerprint(), "tools": tool_versions()}


def _earlier_choice(
    run: Run, source: ExportableNetwork, jobs: Sequence[ExportJob], conditions: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return what was chosen before under the same conditions, as long as what was kept is still there."""
    block = recorded_regions(record_path(run, jobs[0].target.name, jobs[0].profile.name)).get(source.region.name)
    if block is None or block["conditions"] != conditions:
        return None
    key = conditions["inputs"]
    kept = {BASELINE, block["chosen"]}
    current = [
        is_current(source.home / job.name, "export", key[job.precision]) for job in jobs if job.precision in kept
    ]
    return block if all(current) else None


def _try_candidate(
    run: Run,
    source: ExportableNetwork,
    baseline: Exported,
    job: ExportJob,
    limits: AutoPrecisionLimits,
    export_one: ExportOne,
) -> dict[str, Any]:
    """Export and judge one candidate."""
    row: dict[str, Any] = {"precision": job.precision, "verdict": "lost", "latency": None, "accuracy": None}
    try:
        candidate = read_exported(export_one(source, job))
        if not (candidate.proven and baseline.proven):
            return row | {"reason": "it cannot run here, so nothing was measured"}
        lowering = candidate.info.lowering
        row |= {"bytes": candidate.info.size_bytes, "kept_fp32": None if lowering is None else lowering.kept_fp32}
        return row | _judge_candidate(run, ExportPair(baseline, candidate), limits)
    except BUILD_ERRORS as error:
        return row | {"reason": str(error)}


def _judge_candidate(run: Run, pair: ExportPair, limits: AutoPrecisionLimits) -> dict[str, Any]:
    subjects = (pair.baseline, pair.candidate, pair.baseline)
    with ExitStack() as stack:
        engines = [stack.enter_context(load_engine(one.path, threads=THREADS)) for one in subjects]
        timed = [
            TimedEngine(name, engine.run, random_inputs((1, *one.shape), seed=limits.seed))
            for name, one, engine in zip(("baseline", "candidate", "control"), subjects, engines, strict=True)
        ]
        # no margin: the interval of the ratio, cleared of the noise that the control shows, must lie below 1
        test = run_latency_test(*timed, margin=0.0, seconds=limits.seconds, seed=limits.seed)
        latency = {name: value for name, value in test.to_json().items() if name != "looks"}
        latency |= {"batch": 1, "threads": THREADS, "provider": engines[1].provider}
        if test.verdict != "pass":
            return {"latency": latency, "reason": f"not shown to be faster: {_first_lower(test.reason)}"}
        accuracy = judge_accuracy(
            pair,
            (engines[0], engines[1]),
            cases_of_split(run, pair.region, "val"),
            AccuracyTest(allowed=limits.max_accuracy_drop, seed=limits.seed),
        )
        sentence = explain_accuracy(accuracy)[0]
        del accuracy["flips"]  # counted; the record of a choice names no cases
    kept = accuracy["verdict"] == "pass"
    reason = f"{latency['ratio']:.2f} times the time of fp32; {_first_lower(sentence)}"
    return {
        "latency": latency,
        "accuracy": accuracy,
        "verdict": "kept" if kept else "lost",
        "reason": reason if kept else f"accuracy not shown to be within the allowed drop: {_first_lower(sentence)}",
    }


def _first_lower(sentence: str) -> str:
    return (sentence[:1].lower() + sentence[1:]).rstrip(".")


def _record_choice(run: Run, region: str, job: ExportJob, block: dict[str, Any]) -> None:
    path = record_path(run, job.target.name, job.profile.name)
    regions = recorded_regions(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        path,
        {
            "schema_version": SCHEMA_VERSION,
            "kind": "precision",
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "warnings": [],
            "run": run.id,
            "synthetic": run.manifest.synthetic,
            "target": job.target.name,
            "profile": job.profile.name,
            "machine": fingerprint(),
            "tools": tool_versions(),
            "regions": regions | {region: block},
        },
    )
