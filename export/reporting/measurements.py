"""Measurements of a report: stored ones of the run, or new ones if missing; what measures is imported for those.

An fp32 export with a passed parity has the outputs and so the score of its network. Other precisions have other outputs
and are scored themselves, with their own engines on the locked test split.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from lorkit.decompose.artifacts import MANIFEST, read_json, read_manifest
from lorkit.decompose.documents.base import combine, take_seal
from lorkit.decompose.documents.bench import BenchDocument, BenchRow
from lorkit.decompose.documents.evaluate import EvaluateDocument, ModelName
from lorkit.decompose.documents.export_results import (
    ExportScores,
    ScoredClassifier,
    ScoredExport,
    ScoredMultilabel,
    ScoredNodes,
    ScoredSegmenter,
)
from lorkit.decompose.documents.scores import MultilabelScores, NodeScores, SegmentationScores
from lorkit.decompose.errors import DataError, MissingRuntimeError, fit_for_artifact
from lorkit.decompose.events import Listener, Working
from lorkit.decompose.runs import MODELS, Run
from lorkit.decompose.runs.keeping import kept
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.decompose.runs.store import missing_baseline
from lorkit.export.benchmarking import benchmark
from lorkit.export.runtime.batch_size import fitting
from lorkit.export.runtime.exported import Exported

if TYPE_CHECKING:
    from lorkit.decompose.models.foundation.teacher import Teacher

# Enough for a median with its quartiles; `decompose bench` measures more.
_SAMPLES = 60
_SECONDS_PER_EXPORT = 3.0
_SCORES = "exports-test.json"
_BATCH = 64


def unsealed(run: Run) -> list[str]:
    """Return a line on each stored measurement that nothing vouches for.

    Raises:
        ArtifactError: One was changed after it was measured, or cannot be read.
    """
    paths = sorted(run.measurements_dir.glob("*.json"))
    return [
        f"{path.name} has no seal: it is of an earlier version, or somebody wrote it. Measure again to be sure."
        for path in paths
        if not take_seal(read_json(path), path)
    ]


def evaluations_of(
    run_splits: RunSplits, warnings: list[str], on_event: Listener
) -> dict[ModelName, EvaluateDocument | None]:
    """Return each model's evaluation on the test split; measure it if there is none of this run.

    Args:
        run_splits: The run and its data.
        warnings: Extended by a line for each model that could not be measured; it is then None.
        on_event: Receives progress.
    """
    run = run_splits.run
    found = {model: _stored(run, model) for model in reversed(MODELS)}
    try:
        for model in [model for model, document in found.items() if document is None]:
            if model == "foundation" and not run.has_foundation:
                continue
            if run.given is not None and model != "experts":
                continue
            teacher = _teacher(run) if model == "foundation" else None
            reason = missing_baseline(run) if model == "foundation" and teacher is None else None
            if reason is not None:
                warnings.append(f"Not measured: {model}: {reason}")
            else:
                from lorkit.decompose.evaluation.evaluation import evaluate  # with torch

                run = _opened(run)
                found[model] = evaluate(run, model=model, run_splits=run_splits, teacher=teacher, on_event=on_event)
    except DataError as error:
        unmeasured = ", ".join(model for model, document in found.items() if document is None)
        warnings.append(f"Not measured: {unmeasured}: {fit_for_artifact(error)}.")
    return found


def _opened(run: Run) -> Run:
    """Return a run; a network that lorkit did not train with its runtime."""
    if run.given is None:
        return run
    from lorkit.export.building.given import with_network  # with what reads graphs

    return with_network(run)


def _teacher(run: Run) -> Teacher | None:
    """Open the ONNX file that was the foundation of a run; None if it was something else."""
    if not run.config.foundation.is_onnx:
        return None
    from lorkit.export.onnx.teacher import open_teacher  # ONNX Runtime is not needed for any other foundation

    return open_teacher(run.config)


def _stored(run: Run, model: ModelName) -> EvaluateDocument | None:
    path = run.measurements_dir / f"evaluate-{model}-test.json"
    document = EvaluateDocument.read(path, fix="remove it") if path.is_file() else None
    return document if document is not None and _fresh(run, model, document) else None


def _fresh(run: Run, model: ModelName, document: EvaluateDocument) -> bool:
    """Return whether an evaluation is of this run and, for experts, of the current ones."""
    if document.run_digest != run.manifest.digest or set(document.regions) != set(run.regions.names):
        return False
    if model != "experts":
        return True
    measured = datetime.datetime.fromisoformat(document.created)
    for name, block in document.regions.items():
        extracted = run.experts_dir / name / MANIFEST
        if extracted.is_file() != (block.source == "extracted"):
            return False
        if extracted.is_file():
            created = datetime.datetime.fromisoformat(read_manifest(extracted.parent, verify=False).created)
            if measured < created.replace(microsecond=0):
                return False
    return True


def latencies_of(run: Run, exports: Sequence[Exported], warnings: list[str], on_event: Listener) -> dict[str, BenchRow]:
    """Return one row per export digest (batch 1, one thread); measure missing ones briefly."""
    document = benchmark.stored(run)
    rows = _bench_rows(document)
    if all(one.manifest.digest in rows for one in exports if one.proven):
        if document is not None:
            warnings += kept(run, partial(benchmark.draw, run, document), "The chart of the bench")
        return rows
    seconds = _SECONDS_PER_EXPORT * len({one.key for one in exports})
    try:
        return rows | _bench_rows(
            benchmark.bench(run=run.path, samples=_SAMPLES, max_seconds=seconds, on_event=on_event)
        )
    except MissingRuntimeError as error:
        warnings.append(f"Latency was not measured: {fit_for_artifact(error)}.")
        return rows


def _bench_rows(document: BenchDocument | None) -> dict[str, BenchRow]:
    rows = [] if document is None else document.exports
    return {str(row.digest): row for row in rows if row.batch == 1 and row.threads == 1}


def answers_as_network(one: Exported) -> bool:
    """Return whether an export has the score of its network."""
    return one.info.precision == "fp32"


def scores_of(
    run_splits: RunSplits, exports: Sequence[Exported], warnings: list[str], on_event: Listener
) -> dict[str, ScoredExport]:
    """Return the scores of exports of lower precision by digest; measure missing ones.

    `warnings` is extended by a line for each that could not be measured.

    Returns:
        Blocks as in `evaluate`, without curves; none for an export that cannot run here.
    """
    run, path = run_splits.run, run_splits.run.measurements_dir / _SCORES
    known = ExportScores.read(path).exports if path.is_file() else {}
    wanted = {one.manifest.digest: one for one in exports if one.proven and not answers_as_network(one)}
    found = {digest: known[digest] for digest in wanted if digest in known}
    missing = [one for digest, one in wanted.items() if digest not in known]
    for index, one in enumerate(missing):
        label = one.path.relative_to(run.path).as_posix()
        on_event(Working(f"accuracy of {label}", index, len(missing)))
        try:
            found[one.manifest.digest] = _measure(run_splits, one)
        except (DataError, MissingRuntimeError) as error:
            warnings.append(f"The accuracy of {label} was not measured: {fit_for_artifact(error)}.")
    if missing and found:
        path.parent.mkdir(parents=True, exist_ok=True)
        ExportScores(split="test", exports=found).write(path, sealed=True)
    return found


def _measure(run_splits: RunSplits, one: Exported) -> ScoredExport:
    from lorkit.decompose.evaluation.inference import collect_score_inputs  # with torch
    from lorkit.decompose.evaluation.scoring import task_scores
    from lorkit.export.runtime.engine import load_opened

    region = run_splits.run.regions.get(one.region.name)
    prepared = run_splits.part(region.name, "test", recipe=one.recipe)
    with load_opened(one) as engine:
        inputs = collect_score_inputs(engine.run, prepared, batch_size=fitting(region, one.shape, most=_BATCH))
        provider = engine.provider
    found = task_scores(prepared, inputs, one.head.decision)
    if isinstance(found, SegmentationScores):
        return combine(ScoredSegmenter, found.figures, path=one.path.name, provider=provider)
    if isinstance(found, MultilabelScores):
        return combine(ScoredMultilabel, found.figures, path=one.path.name, provider=provider)
    if isinstance(found, NodeScores):
        return combine(ScoredNodes, found.figures, path=one.path.name, provider=provider)
    return combine(ScoredClassifier, found.figures, path=one.path.name, provider=provider)
