"""Measure latency, throughput, memory, load time and size of exports on this machine.

Exports of one region are timed interleaved (`lorkit.export.benchmarking.interleaving`), so their ratios are fair even
if the machine is busy. The document contains raw samples, for other statistics.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from lorkit.decompose.artifacts import MANIFEST, digest_file, write_text
from lorkit.decompose.artifacts.arrays import Floats
from lorkit.decompose.artifacts.manifest import check_unchanged
from lorkit.decompose.documents.base import combine
from lorkit.decompose.documents.bench import BenchComparison, BenchDocument, BenchRow, TimingSummary
from lorkit.decompose.errors import ArtifactError, MissingRuntimeError, UsageError, fit_for_artifact
from lorkit.decompose.events import Listener, Working, ignore
from lorkit.decompose.machine import check_threads, fingerprint, tool_versions
from lorkit.decompose.runs import ExportSelection, Run, exports_of, open_run
from lorkit.decompose.runs.keeping import kept
from lorkit.export.benchmarking.chart import latencies
from lorkit.export.benchmarking.device_times import device_times
from lorkit.export.benchmarking.end_to_end import end_to_end
from lorkit.export.benchmarking.energy import millijoules
from lorkit.export.benchmarking.footprint import footprints
from lorkit.export.benchmarking.interleaving import time_samples, timed_engine
from lorkit.export.benchmarking.timing_statistics import paired_ratio, percentile, percentile_bound, samples_for
from lorkit.export.runtime.batch_size import check_batches
from lorkit.export.runtime.engine import load_opened
from lorkit.export.runtime.exported import Exported, read_exported
from lorkit.export.runtime.given_options import options_given

NAME = "bench.json"
SAMPLES = samples_for(0.99) + 1
"""Enough samples for a bounded p99."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Batch size, and threads of the engine (None: chosen by the runtime)."""

    batch: int
    threads: int | None


def bench(
    paths: Sequence[Path | str] | Path | str | None = None,
    *,
    run: Path | str | None = None,
    region: str | None = None,
    target: str | None = None,
    profile: str | None = None,
    precision: str | None = None,
    batch: Sequence[int] = (1,),
    threads: Sequence[int | None] | None = (1,),
    against: Path | str | None = None,
    image: Path | str | None = None,
    samples: int = SAMPLES,
    max_seconds: float = 60.0,
    seed: int = 0,
    on_event: Listener = ignore,
) -> BenchDocument:
    """Measure exports.

    Args:
        paths: Export directories; the exports of a run by default.
        run: The run, by path or id; the newest by default. Results are stored in its `measurements/bench.json`.
        region: Regions of the run, separated by commas.
        target: Only exports of this target.
        profile: Only exports for this profile.
        precision: Only exports of this precision.
        batch: Batch sizes.
        threads: Thread counts; None in it leaves the choice to the runtime.
        against: An export with which each of the others is compared.
        image: A file for the time from file to prediction; a drawn one by default.
        samples: Timings of each export and setting; 299 or more give a p99.
        max_seconds: Time for all timings together, shared equally; loading and memory are extra.
        seed: Seed of inputs, orders and intervals.
        on_event: Receives progress.

    Returns:
        One row per export and setting, and ratios to `against`.

    Raises:
        UsageError: Nothing to measure, or an invalid number.
        MissingRuntimeError: A named export, or every export found, cannot run here.
    """
    stated = dict(locals())
    sweep = _sweep(batch, (1,) if threads is None else threads, samples, max_seconds)
    home = None if paths else open_run(run)
    selection = ExportSelection(region=region, target=target, profile=profile, precision=precision)
    named = [paths] if isinstance(paths, Path | str) else list(paths or ())
    subjects = [read_exported(Path(path), selection) for path in named] if home is None else _found(home, selection)
    reference = None if against is None else read_exported(Path(against))
    groups = _groups(subjects, reference)
    jobs = [(group, setting) for group in groups for setting in sweep]
    for group in groups:
        check_batches(group[0].region, group[0].shape, batch)
    rows, ratios, warnings = list[BenchRow](), list[BenchComparison](), list[str]()
    seconds, file = max_seconds, None if image is None else Path(image)
    for index, (group, setting) in enumerate(jobs):
        on_event(Working(f"{group[0].region.name}, batch {setting.batch}", index, len(jobs)))
        begin = time.perf_counter()
        try:
            found = _measure(group, reference, setting, samples, seconds / (len(jobs) - index), seed, file)
        except MissingRuntimeError as error:
            if home is None or target is not None:
                raise
            warnings.append(fit_for_artifact(error))
            continue
        seconds = max(0.0, seconds - (time.perf_counter() - begin))
        rows += found[0]
        ratios += found[1]
    if not rows:
        raise MissingRuntimeError(warnings[0])
    for subject in (subject for group in groups for subject in (*group, *([] if reference is None else [reference]))):
        check_unchanged(subject.manifest)
    on_event(Working("done", len(jobs), len(jobs)))
    options = options_given(bench, stated, None if home is None else home.path) if samples == SAMPLES else None
    document = BenchDocument(
        warnings=warnings,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        machine=fingerprint(),
        tools=tool_versions(),
        exports=[row.with_changes(options=options) for row in rows],
        comparisons=ratios,
    )
    lost = [] if home is None else kept(home, lambda: store(home, document), "The bench")
    return document.with_changes(warnings=[*document.warnings, *lost])


def store(run: Run, document: BenchDocument) -> None:
    """Store a bench in a run; older rows of unchanged exports that were not measured again are kept."""
    run.measurements_dir.mkdir(parents=True, exist_ok=True)
    path = run.measurements_dir / NAME
    try:
        old = stored(run)
    except ArtifactError as error:  # what was measured now is kept
        old, text = None, f"Earlier rows were replaced: {fit_for_artifact(error)}."
        document = document.with_changes(warnings=[*document.warnings, text])
    if old is not None:
        new = {_identity(row) for row in document.exports}
        current = {digest_file(entry.path / MANIFEST) for entry in exports_of(run)}
        kept = [row for row in old.exports if _identity(row) not in new and row.digest in current]
        document = document.with_changes(exports=[*document.exports, *kept])
    document.write(path, sealed=True)
    draw(run, document)


def draw(run: Run, document: BenchDocument) -> None:
    """Draw the stored bench of a run unless that is done: a killed command may have left no drawing, or another one."""
    path, text = (run.measurements_dir / NAME).with_suffix(".svg"), latencies(document.exports)
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)


def stored(run: Run) -> BenchDocument | None:
    """Return the stored bench of a run, or None."""
    path = run.measurements_dir / NAME
    return BenchDocument.read(path, fix="remove it") if path.is_file() else None


def summary(times_P: Floats, setting: Setting) -> TimingSummary:
    """Return medians and percentiles of one engine's timings; null if there are too few samples."""
    median = float(np.median(times_P))
    return TimingSummary(
        batch=setting.batch,
        threads=setting.threads,
        median_ms=median,
        p90_ms=percentile(times_P, 0.90),
        p99_ms=percentile(times_P, 0.99),
        p90_bound_ms=percentile_bound(times_P, 0.90),
        p99_bound_ms=percentile_bound(times_P, 0.99),
        throughput=1e3 * setting.batch / median,
        samples_ms=np.round(times_P, 6).tolist(),
    )


def _sweep(batch: Sequence[int], threads: Sequence[int | None], samples: int, max_seconds: float) -> list[Setting]:
    sizes = [*batch, *(count for count in threads if count is not None), samples - 1]
    if not batch or not threads or min(sizes) < 1 or not 0 < max_seconds < float("inf"):
        raise UsageError(
            f"batch {list(batch)}, threads {list(threads)}, {samples} samples, {max_seconds} s",
            required="numbers above 0, and two samples or more",
            fix="correct the options",
        )
    check_threads(threads)
    return [Setting(batch=size, threads=count) for count in threads for size in batch]


def _found(run: Run, selection: ExportSelection) -> list[Exported]:
    entries = exports_of(run, selection)
    if not entries:
        raise UsageError(
            f"no export of that selection in {run.path}", required="an export", fix="run `decompose export` first"
        )
    return [read_exported(entry.path, chained=True) for entry in entries]


def _groups(subjects: Iterable[Exported], reference: Exported | None) -> list[list[Exported]]:
    """Group exports that are compared: by region, target, profile and precision.

    Few engines are loaded at a time, and an export that cannot run here does not prevent others from running.
    """
    if reference is not None:
        subjects = [subject for subject in subjects if subject.path.resolve() != reference.path.resolve()]
    ordered = sorted(subjects, key=lambda subject: (subject.key, subject.owner))
    groups = [list(group) for _, group in groupby(ordered, key=lambda subject: subject.key)]
    if not groups and reference is not None:
        raise UsageError(
            "no export to compare with --against", required="another export", fix="name exports as arguments"
        )
    return groups


def _measure(
    group: list[Exported],
    reference: Exported | None,
    setting: Setting,
    samples: int,
    seconds: float,
    seed: int,
    image: Path | None,
) -> tuple[list[BenchRow], list[BenchComparison]]:
    subjects = group if reference is None else [reference, *group]
    costs = footprints([subject.path for subject in subjects], batch=setting.batch, threads=setting.threads)
    with ExitStack() as stack:
        engines = [stack.enter_context(load_opened(one, threads=setting.threads)) for one in subjects]
        timed = [
            timed_engine(str(subject.path), engine, subject, batch=setting.batch, seed=seed)
            for subject, engine in zip(subjects, engines, strict=True)
        ]
        shares = 1 + any(engine.device_timer for engine in engines)  # the host's clock, and the GPU's
        times_PA, runs = time_samples(timed, samples, seconds / shares, seed)
        devices = device_times(engines, timed, len(times_PA), seed=seed, seconds=seconds / shares)
        from_file = all(one.info.recipe.nodes is None for one in subjects)  # a node is no file
        rows = [
            combine(
                BenchRow,
                subject.describe(),
                summary(times_PA[:, index], setting),
                devices[index],
                **{name: round(value, 3) for name, value in costs[index].items()},
                end_to_end=end_to_end(subject, engine, image) if setting.batch == 1 and from_file else None,
                energy_mj=millijoules(engine.provider, one.run, one.inputs),
                size_bytes=subject.info.size_bytes,
                provider=engine.provider,
                runs_per_sample=runs,
                measured=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            )
            for index, (subject, engine, one) in enumerate(zip(subjects, engines, timed, strict=True))
        ]
    return rows, [] if reference is None else _ratios(subjects, times_PA, setting, seed)


def _ratios(subjects: list[Exported], times_PA: Floats, setting: Setting, seed: int) -> list[BenchComparison]:
    return [
        combine(
            BenchComparison,
            paired_ratio(times_PA[:, 0], times_PA[:, index], seed=seed),
            path=str(subject.path),
            against=str(subjects[0].path),
            batch=setting.batch,
            threads=setting.threads,
        )
        for index, subject in enumerate(subjects)
        if index > 0
    ]


def _identity(row: BenchRow) -> tuple[str | None, int, int | None]:
    return row.digest, row.batch, row.threads
