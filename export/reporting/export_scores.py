"""Accuracy of exports of lower precision, with their own engines on the locked test split.

An fp32 export with a passed parity has the outputs and so the score of its network. Other precisions have other outputs
and must be scored themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lorkit.decompose.documents.base import combine
from lorkit.decompose.documents.export import ExportScores, ScoredClassifier, ScoredExport, ScoredSegmenter
from lorkit.decompose.documents.scores import SegmentationScores
from lorkit.decompose.errors import DataError, MissingRuntimeError
from lorkit.decompose.events import Listener, Working
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.decompose.tasks import get_task
from lorkit.export.runtime.batch_size import fitting
from lorkit.export.runtime.engine import load_engine
from lorkit.export.runtime.exported import Exported

NAME = "exports-test.json"
_BATCH = 64


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
    run, path = run_splits.run, run_splits.run.measurements_dir / NAME
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
            warnings.append(f"The accuracy of {label} was not measured: {error}.")
    if missing and found:
        path.parent.mkdir(parents=True, exist_ok=True)
        ExportScores(split="test", exports=found).write(path)
    return found


def _measure(run_splits: RunSplits, one: Exported) -> ScoredExport:
    region = run_splits.run.regions.get(one.region.name)
    task = get_task(region.task)
    prepared = run_splits.part(region.name, "test", recipe=one.recipe)
    step = fitting(region, one.shape, most=_BATCH)
    kept = []
    with load_engine(one.path) as engine:
        for start in range(0, len(prepared), step):
            part = slice(start, start + step)
            logits = engine.run(np.ascontiguousarray(prepared.images[part]))
            kept.append(task.score_inputs(logits, prepared.targets[part]))
        provider = engine.provider
    found = task.scores(region, prepared.targets, np.concatenate(kept), prepared.groups)
    if isinstance(found, SegmentationScores):
        return combine(ScoredSegmenter, found.figures, path=one.path.name, provider=provider)
    return combine(ScoredClassifier, found.figures, path=one.path.name, provider=provider)
