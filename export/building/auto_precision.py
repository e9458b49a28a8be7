"""`--precision auto`: use a lower precision only if it is measured to be faster and not worse.

Each candidate is exported and compared with the fp32 export of the same network on this machine: latency by interleaved
pairs with a control, accuracy by the paired bootstrap on the validation part. A candidate without a decision in its
favour in both is rejected. The test part is not used.
"""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lorkit.decompose.artifacts import is_current
from lorkit.decompose.documents.export import ChoiceConditions, PrecisionCandidate, PrecisionChoice, PrecisionRecord
from lorkit.decompose.errors import ArtifactError, DataError, MissingRuntimeError, ParityError, UsageError
from lorkit.decompose.machine import fingerprint, tool_versions
from lorkit.decompose.runs import Run
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.export.building.builder import inputs_digest
from lorkit.export.building.job import ExportJob
from lorkit.export.building.sources import ExportableNetwork, OpenedSplits
from lorkit.export.noninferiority.accuracy import AccuracyTest, judge_accuracy
from lorkit.export.noninferiority.cases import cases_of_split
from lorkit.export.noninferiority.explanation import explain_accuracy
from lorkit.export.noninferiority.latency import compare_engines
from lorkit.export.runtime.engine import load_engine
from lorkit.export.runtime.exported import Exported, ExportPair, read_exported
from lorkit.export.runtime.heads import engine_of
from lorkit.export.runtime.preference import record_path, recorded_regions

AUTO, BASELINE = "auto", "fp32"
BUILD_ERRORS = (ParityError, DataError, MissingRuntimeError, UsageError, ArtifactError)
"""Errors of building or running a lower precision, which reject the candidate."""
THREADS = 1
ExportOne = Callable[[ExportableNetwork, ExportJob], Path]
Judge = Callable[[ExportPair, PrecisionCandidate], PrecisionCandidate]


@dataclass(frozen=True, kw_only=True)
class AutoPrecisionLimits:
    """Limits of a candidate.

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
    splits: OpenedSplits,
    *,
    force: bool = False,
) -> PrecisionChoice:
    """Export an expert at every precision; keep fp32 and the fastest one shown to be faster and not worse.

    Args:
        source: An expert of a run.
        jobs: fp32 first, then the candidates.
        limits: Limits of a candidate.
        export_one: Exports a source and returns the directory.
        splits: Opens the data of the run, for the accuracy.
        force: Repeat earlier measurements.

    Returns:
        The chosen precision of the region, and the measurements.

    Raises:
        UsageError: An expert without its run, whose data the accuracy needs.
    """
    run = source.run
    if run is None:
        raise UsageError(
            f"--precision {AUTO} for an expert without its run",
            required="the run, whose validation part accuracy is judged on",
            fix="name a precision, or the run",
        )
    conditions = _conditions(source, jobs, limits)
    there = {job.precision for job in jobs if (source.home / job.name).exists()}
    known = _earlier_choice(run, source, jobs, conditions)
    if known is not None and not force:
        return known
    baseline = read_exported(export_one(source, jobs[0]))
    judge = partial(_judge_candidate, splits.of(run), limits)
    rows = [_try_candidate(source, baseline, job, export_one, judge) for job in jobs[1:]]
    timed = [(row.latency_test.ratio, row) for row in rows if row.verdict == "kept" and row.latency_test]
    kept = [(ratio, row) for ratio, row in timed if ratio]
    best = min(kept, key=lambda pair: pair[0])[1] if kept else None
    chosen = BASELINE if best is None else best.precision
    slower = {"verdict": "lost", "reason": f"faster than fp32, but {chosen} is faster"}
    rows = [row if row is best or row.verdict == "lost" else row.with_changes(**slower) for row in rows]
    for row, job in zip(rows, jobs[1:], strict=True):
        if row.verdict == "lost" and job.precision not in there:  # keep earlier exports of the user
            shutil.rmtree(source.home / job.name, ignore_errors=True)
    block = PrecisionChoice(
        target=jobs[0].target.name,
        profile=jobs[0].profile.name,
        precision=chosen,
        candidates=rows,
        conditions=conditions,
        reasons=[f"{row.precision}: {row.reason}" for row in rows],
    )
    _record_choice(run, source.region.name, jobs[0], block)
    return block


def _conditions(source: ExportableNetwork, jobs: Sequence[ExportJob], limits: AutoPrecisionLimits) -> ChoiceConditions:
    return ChoiceConditions(
        input_digests={job.precision: inputs_digest(source, job) for job in jobs},
        max_accuracy_drop=limits.max_accuracy_drop,
        seconds=limits.seconds,
        seed=limits.seed,
        machine=fingerprint(),
        tools=tool_versions(),
    )


def _earlier_choice(
    run: Run, source: ExportableNetwork, jobs: Sequence[ExportJob], conditions: ChoiceConditions
) -> PrecisionChoice | None:
    """Return an earlier choice under the same conditions, if its exports still exist."""
    block = recorded_regions(record_path(run, jobs[0].target.name, jobs[0].profile.name)).get(source.region.name)
    if block is None or block.conditions != conditions:
        return None
    kept = {BASELINE, block.precision}
    current = [
        is_current(source.home / job.name, "export", conditions.input_digests[job.precision])
        for job in jobs
        if job.precision in kept
    ]
    return block if all(current) else None


def _try_candidate(
    source: ExportableNetwork, baseline: Exported, job: ExportJob, export_one: ExportOne, judge: Judge
) -> PrecisionCandidate:
    lost = PrecisionCandidate(precision=job.precision, verdict="lost", latency_test=None, accuracy_test=None, reason="")
    try:
        candidate = read_exported(export_one(source, job))
        if not (candidate.proven and baseline.proven):
            return lost.with_changes(reason="it cannot run here, so nothing was measured")
        lowering = candidate.info.lowering
        kept = None if lowering is None else lowering.kept_fp32
        lost = lost.with_changes(size_bytes=candidate.info.size_bytes, kept_fp32=kept)
        return judge(ExportPair(baseline, candidate), lost)
    except BUILD_ERRORS as error:
        return lost.with_changes(reason=str(error))


def _judge_candidate(
    run_splits: RunSplits, limits: AutoPrecisionLimits, pair: ExportPair, row: PrecisionCandidate
) -> PrecisionCandidate:
    subjects = (pair.baseline, pair.candidate, pair.baseline)
    with ExitStack() as stack:
        engines = [stack.enter_context(load_engine(one.path, threads=THREADS)) for one in subjects]
        # no margin: the interval of the ratio, cleared of the noise that the control shows, must lie below 1
        latency, sentence = compare_engines(
            pair, engines, margin=0.0, seconds=limits.seconds, seed=limits.seed, threads=THREADS
        )
        latency = latency.without("looks")
        if latency.verdict != "pass":
            reason = f"not shown to be faster: {_first_lower(sentence)}"
            return row.with_changes(latency_test=latency, reason=reason)
        test = AccuracyTest(allowed=limits.max_accuracy_drop, seed=limits.seed)
        judged = {
            one.region: judge_accuracy(
                one,
                (engine_of(engines[0], one.baseline), engine_of(engines[1], one.candidate)),
                cases_of_split(run_splits, one.region, "val"),
                test,
            )
            for one in _heads(pair)
        }
    worst = max(judged, key=lambda name: (judged[name].verdict != "pass", judged[name].drop))
    accuracy = judged[worst]
    # only counted; the record does not name cases
    row = row.with_changes(latency_test=latency, accuracy_test=accuracy.without("changed_answers"))
    sentence = _first_lower(explain_accuracy(accuracy)[0])
    sentence = sentence if len(judged) == 1 else f"of region {worst}, which loses most, {sentence}"
    if accuracy.verdict != "pass":
        return row.with_changes(reason=f"accuracy not shown to be within the allowed drop: {sentence}")
    return row.with_changes(verdict="kept", reason=f"{latency.ratio:.2f} times the time of fp32; {sentence}")


def _heads(pair: ExportPair) -> list[ExportPair]:
    """Return the pair, or that of each head of networks for several regions."""
    if pair.candidate.info.mixture is None:
        return [pair]
    return [ExportPair(pair.baseline.of_head(name), pair.candidate.of_head(name)) for name in pair.candidate.classes]


def _first_lower(sentence: str) -> str:
    return (sentence[:1].lower() + sentence[1:]).rstrip(".")


def _record_choice(run: Run, region: str, job: ExportJob, block: PrecisionChoice) -> None:
    path = record_path(run, job.target.name, job.profile.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    record = PrecisionRecord(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        run=run.id,
        synthetic=run.manifest.synthetic,
        target=job.target.name,
        profile=job.profile.name,
        machine=fingerprint(),
        tools=tool_versions(),
        regions=recorded_regions(path) | {region: block},
    )
    record.write(path)
