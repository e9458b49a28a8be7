"""`auto`: use another target or a lower precision only if it is measured to be faster and not worse.

Each candidate is exported and compared with the fp32 export of the same network on this machine: latency by interleaved
pairs with a control, at each batch size, and accuracy by the paired bootstrap on the validation part. A candidate
without a decision in its favour in all of them is rejected. The test part is not used. Errors are divided by the number
of candidates (Bonferroni), since the fastest of many can be so by chance.
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
from lorkit.decompose.documents.export_results import ChoiceConditions, ChoiceRecord, ExportCandidate, ExportChoice
from lorkit.decompose.documents.gate import Latency
from lorkit.decompose.errors import (
    ArtifactError,
    DataError,
    MissingRuntimeError,
    ParityError,
    UsageError,
    fit_for_artifact,
)
from lorkit.decompose.machine import fingerprint, tool_versions
from lorkit.decompose.metrics.intervals import ALPHA
from lorkit.decompose.runs import Run
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.export.building.identity import inputs_digest
from lorkit.export.building.job import BASELINE, ExportJob
from lorkit.export.building.run_data import OpenedSplits
from lorkit.export.building.sources import ExportableNetwork
from lorkit.export.noninferiority.accuracy import AccuracyTest, judge_accuracy
from lorkit.export.noninferiority.cases import cases_of_split
from lorkit.export.noninferiority.explanation import explain_accuracy
from lorkit.export.noninferiority.latency import compare_engines
from lorkit.export.runtime.batch_size import check_batches, fitting
from lorkit.export.runtime.engine import load_opened
from lorkit.export.runtime.exported import Exported, ExportPair, read_exported
from lorkit.export.runtime.heads import engine_of
from lorkit.export.runtime.preference import AUTO, record_path, recorded_regions

BUILD_ERRORS = (ParityError, DataError, MissingRuntimeError, UsageError, ArtifactError)
"""Errors of building or running a candidate, which reject it."""
SLOWER = 0.03
"""Allowed slow-down at batch sizes other than the tuned one."""
ExportOne = Callable[[ExportableNetwork, ExportJob], Path]
Judge = Callable[[ExportPair, ExportCandidate], ExportCandidate]


@dataclass(frozen=True, kw_only=True)
class ChoiceLimits:
    """Limits of a candidate.

    Attributes:
        max_accuracy_drop: Largest drop of the task's headline metric, a fraction.
        seconds: Time for the latency of one candidate at one batch size.
        batches: Batch sizes; a candidate must be faster at the first, and not slower at the others.
        threads: Threads of the engines; 0: chosen by the runtimes.
        seed: Seed of inputs, orders and intervals.
    """

    max_accuracy_drop: float
    seconds: float
    batches: tuple[int, ...] = (1,)
    threads: int = 1
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class AutoExport:
    """What `auto` chooses from.

    Attributes:
        target: The `--target`, which may be `auto`.
        precision: The `--precision`, which may be `auto`.
        jobs: The fp32 export that all are compared with, then the candidates.
        limits: Limits of a candidate.
    """

    target: str
    precision: str
    jobs: Sequence[ExportJob]
    limits: ChoiceLimits

    def kept(self, *choices: ExportChoice) -> list[ExportJob]:
        """Return the exports that stay: the first, and the chosen ones."""
        return [job for job in self.jobs if job is self.jobs[0] or any(map(job.chosen_by, choices))]


def choose_export(
    source: ExportableNetwork, asked: AutoExport, export_one: ExportOne, splits: OpenedSplits, *, force: bool = False
) -> ExportChoice:
    """Export an expert in every way; keep the first and the fastest one shown to be faster and not worse.

    Args:
        source: An expert of a run.
        asked: What to choose from.
        export_one: Exports a source and returns the directory.
        splits: Opens the data of the run, for the accuracy.
        force: Repeat earlier measurements.

    Returns:
        The chosen target and precision of the region, and the measurements.

    Raises:
        UsageError: An expert without its run, whose data the accuracy needs.
    """
    run, jobs = source.run, asked.jobs
    check_batches(source.region, source.shape, asked.limits.batches)
    if run is None:
        option = "target" if asked.target == AUTO else "precision"
        raise UsageError(
            f"--{option} {AUTO} for an expert without its run",
            required="the run, whose validation part accuracy is judged on",
            fix=f"name a {option}, or the run",
        )
    conditions = _conditions(source, asked)
    there = {job.name for job in jobs if (source.home / job.name).exists()}
    known = _earlier_choice(run, source, asked, conditions)
    if known is not None and not force:
        return known
    baseline = read_exported(export_one(source, jobs[0]))
    judge = partial(_judge_candidate, splits.of(run), asked.limits, conditions.batches, len(jobs) - 1)
    rows = [_try_candidate(source, baseline, job, export_one, judge) for job in jobs[1:]]
    timed = [(row.latency_test.ratio, row) for row in rows if row.verdict == "kept" and row.latency_test]
    kept = [(ratio, row) for ratio, row in timed if ratio]
    best = min(kept, key=lambda pair: pair[0])[1] if kept else None
    chosen = jobs[0] if best is None else jobs[1 + rows.index(best)]
    first, winner = (f"{job.target.name} {job.precision}" for job in (jobs[0], chosen))
    slower = {"verdict": "lost", "reason": f"faster than {first}, but {winner} is faster"}
    rows = [row if row is best or row.verdict == "lost" else row.with_changes(**slower) for row in rows]
    for row, job in zip(rows, jobs[1:], strict=True):
        if row.verdict == "lost" and job.name not in there:  # keep earlier exports of the user
            shutil.rmtree(source.home / job.name, ignore_errors=True)
    block = ExportChoice(
        target=chosen.target.name,
        profile=chosen.profile.name,
        precision=chosen.precision,
        target_option=asked.target,
        precision_option=asked.precision,
        baseline=jobs[0].target.name,
        candidates=rows,
        conditions=conditions,
        reasons=[f"{row.target} {row.precision}: {row.reason}" for row in rows],
    )
    _record_choice(run, source.region.name, block)
    return block


def _conditions(source: ExportableNetwork, asked: AutoExport) -> ChoiceConditions:
    tuned, *others = asked.limits.batches
    # windows of volumes are large: a batch that does not fit would measure the memory, or end for lack of it
    fit = [size for size in others if size <= fitting(source.region, source.shape, most=size)]
    return ChoiceConditions(
        input_digests={job.name: inputs_digest(source, job) for job in asked.jobs},
        max_accuracy_drop=asked.limits.max_accuracy_drop,
        batches=[tuned, *fit],
        threads=asked.limits.threads,
        seconds=asked.limits.seconds,
        seed=asked.limits.seed,
        machine=fingerprint(),
        tools=tool_versions(),
    )


def _earlier_choice(
    run: Run, source: ExportableNetwork, asked: AutoExport, conditions: ChoiceConditions
) -> ExportChoice | None:
    """Return an earlier choice under the same conditions, if its exports still exist."""
    path = record_path(run, asked.target, asked.jobs[0].profile.name)
    block = recorded_regions(path).get(source.region.name)
    if block is None or block.conditions != conditions:
        return None
    current = [
        is_current(source.home / job.name, "export", conditions.input_digests[job.name]) for job in asked.kept(block)
    ]
    return block if all(current) else None


def _try_candidate(
    source: ExportableNetwork, baseline: Exported, job: ExportJob, export_one: ExportOne, judge: Judge
) -> ExportCandidate:
    lost = ExportCandidate(
        target=job.target.name,
        precision=job.precision,
        verdict="lost",
        latency_test=None,
        accuracy_test=None,
        reason="",
    )
    try:
        candidate = read_exported(export_one(source, job))
        if not (candidate.proven and baseline.proven):
            return lost.with_changes(reason="it cannot run here, so nothing was measured")
        lowering = candidate.info.lowering
        kept = None if lowering is None else lowering.kept_fp32
        lost = lost.with_changes(size_bytes=candidate.info.size_bytes, kept_fp32=kept)
        return judge(ExportPair(baseline, candidate), lost)
    except BUILD_ERRORS as error:
        return lost.with_changes(reason=fit_for_artifact(error))


def _judge_candidate(
    run_splits: RunSplits,
    limits: ChoiceLimits,
    batches: Sequence[int],
    comparisons: int,
    pair: ExportPair,
    row: ExportCandidate,
) -> ExportCandidate:
    subjects = (pair.baseline, pair.candidate, pair.baseline)
    with ExitStack() as stack:
        engines = [stack.enter_context(load_opened(one, threads=limits.threads or None)) for one in subjects]
        tests: list[Latency] = []
        # all batch sizes must pass, which needs no correction for their number
        for batch in batches:
            # no margin at first: the interval of the ratio, cleared of the noise of the control, must lie below 1
            latency, sentence = compare_engines(
                pair,
                engines,
                margin=SLOWER if tests else 0.0,
                seconds=limits.seconds,
                seed=limits.seed,
                threads=limits.threads,
                batch=batch,
                comparisons=comparisons,
            )
            tests.append(latency.without("looks"))
            row = row.with_changes(latency_test=tests[0], other_latency_tests=tests[1:])
            if latency.verdict != "pass":
                shown = "not shown to be as fast" if tests[1:] else "not shown to be faster"
                return row.with_changes(reason=f"{shown} at batch {batch}: {_first_lower(sentence)}")
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
    worst = max(judged, key=lambda name: (judged[name].verdict != "pass", judged[name].p_within, judged[name].drop))
    accuracy = judged[worst]
    # only counted; the record does not name cases
    row = row.with_changes(accuracy_test=accuracy.without("changed_answers"))
    sentence = _first_lower(explain_accuracy(accuracy)[0])
    sentence = sentence if len(judged) == 1 else f"of region {worst}, which loses most, {sentence}"
    if accuracy.verdict != "pass":
        return row.with_changes(reason=f"accuracy not shown to be within the allowed drop: {sentence}")
    if accuracy.p_within * comparisons > ALPHA:
        shown = f"accuracy not shown to be within the allowed drop once {comparisons} candidates are compared"
        return row.with_changes(reason=f"{shown}: {sentence}")
    first = f"{pair.baseline.info.target} {BASELINE}"
    return row.with_changes(verdict="kept", reason=f"{tests[0].ratio:.2f} times the time of {first}; {sentence}")


def _heads(pair: ExportPair) -> list[ExportPair]:
    """Return the pair, or that of each head of networks for several regions."""
    if pair.candidate.info.mixture is None:
        return [pair]
    return [ExportPair(pair.baseline.of_head(name), pair.candidate.of_head(name)) for name in pair.candidate.classes]


def _first_lower(sentence: str) -> str:
    return (sentence[:1].lower() + sentence[1:]).rstrip(".")


def _record_choice(run: Run, region: str, block: ExportChoice) -> None:
    path = record_path(run, block.target_option, block.profile)
    path.parent.mkdir(parents=True, exist_ok=True)
    record = ChoiceRecord(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        run=run.id,
        synthetic=run.synthetic,
        target=block.target_option,
        profile=block.profile,
        machine=fingerprint(),
        tools=tool_versions(),
        regions=recorded_regions(path) | {region: block},
    )
    record.write(path, sealed=True)
