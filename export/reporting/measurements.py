"""Measurements of a report: stored ones of the run, or new ones if missing."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from lorkit.decompose.artifacts import MANIFEST, read_manifest
from lorkit.decompose.documents.bench import BenchDocument, BenchRow
from lorkit.decompose.documents.evaluate import EvaluateDocument
from lorkit.decompose.errors import DataError, MissingRuntimeError
from lorkit.decompose.events import Listener
from lorkit.decompose.runs import MODELS, Run
from lorkit.decompose.runs.store import missing_baseline
from lorkit.export.benchmarking import benchmark
from lorkit.export.runtime.exported import Exported

if TYPE_CHECKING:
    from lorkit.decompose.models.foundation.teacher import Teacher

# Enough for a median with its quartiles; `decompose bench` measures more.
_SAMPLES = 60
_SECONDS_A_REGION = 3.0


def evaluations_of(run: Run, warnings: list[str], on_event: Listener) -> dict[str, EvaluateDocument | None]:
    """Return each model's evaluation on the test split; measure it if there is none of this run."""
    found: dict[str, EvaluateDocument | None] = {model: _stored(run, model) for model in reversed(MODELS)}
    missing = [model for model, document in found.items() if document is None]
    if not missing:
        return found
    # PyTorch takes seconds to import, and is not needed if all is measured
    from lorkit.decompose.evaluation.evaluation import evaluate
    from lorkit.decompose.runs.locked_data import RunSplits

    try:
        locked = RunSplits(run)
        for model in missing:
            teacher = _teacher(run) if model == "foundation" else None
            if model == "foundation" and teacher is None and (reason := missing_baseline(run)) is not None:
                warnings.append(f"Not measured: {model}: {reason}")
                continue
            found[model] = evaluate(run, model=model, run_splits=locked, teacher=teacher, on_event=on_event)
    except DataError as error:
        unmeasured = ", ".join(model for model, document in found.items() if document is None)
        warnings.append(f"Not measured: {unmeasured}: {error}.")
    return found


def _teacher(run: Run) -> Teacher | None:
    """Open the ONNX file that was the foundation of a run; None if it was something else."""
    if not run.config.foundation.is_onnx:
        return None
    from lorkit.export.onnx.teacher import teacher_of

    return teacher_of(run)


def _stored(run: Run, model: str) -> EvaluateDocument | None:
    path = run.measurements_dir / f"evaluate-{model}-test.json"
    document = EvaluateDocument.read(path, fix="remove it") if path.is_file() else None
    return document if document is not None and _fresh(run, model, document) else None


def _fresh(run: Run, model: str, document: EvaluateDocument) -> bool:
    """Return whether an evaluation is of this run and, for experts, of the current ones."""
    if document.run_digest != run.manifest.digest or set(document.regions) != set(run.regions.names):
        return False
    if model != "experts":
        return True
    for name, block in document.regions.items():
        extracted = run.experts_dir / name / MANIFEST
        if extracted.is_file() != (block.source == "extracted"):
            return False
        if extracted.is_file():
            created = datetime.datetime.fromisoformat(read_manifest(extracted.parent, verify=False).created)
            if datetime.datetime.fromisoformat(document.created) < created.replace(microsecond=0):
                return False
    return True


def latencies_of(run: Run, exports: list[Exported], warnings: list[str], on_event: Listener) -> dict[str, BenchRow]:
    """Return one row per export digest (batch 1, one thread); measure missing ones briefly."""
    rows = _bench_rows(benchmark.stored(run))
    if any(one.proven and one.manifest.digest not in rows for one in exports):
        seconds = _SECONDS_A_REGION * len({one.key for one in exports})
        try:
            document = benchmark.bench(run=run.path, samples=_SAMPLES, max_seconds=seconds, on_event=on_event)
        except MissingRuntimeError as error:
            warnings.append(f"Latency was not measured: {error}.")
            return rows
        rows |= _bench_rows(document)
    return rows


def _bench_rows(document: BenchDocument | None) -> dict[str, BenchRow]:
    rows = [] if document is None else document.exports
    return {str(row.digest): row for row in rows if row.batch == 1 and row.threads == 1}
