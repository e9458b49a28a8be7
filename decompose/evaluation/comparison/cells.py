"""One cell of a comparison: a method, a seed and a fraction of the training groups, trained and scored once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from lorkit.decompose.artifacts import (
    MANIFEST,
    check_files,
    digest_json,
    is_current,
    load_tensors,
    read_manifest,
    save_tensors,
    write_manifest,
)
from lorkit.decompose.artifacts.arrays import Ints
from lorkit.decompose.data import PreparedRegion
from lorkit.decompose.documents.compare import CellDocument, CellHead, CellRow, Exposure
from lorkit.decompose.evaluation.comparison.compared_methods import ComparedMethod
from lorkit.decompose.evaluation.comparison.comparison_data import ComparisonData
from lorkit.decompose.evaluation.comparison.fraction_data import of_fraction
from lorkit.decompose.evaluation.comparison.measuring import (
    PREDICTED,
    UNKNOWN,
    Evidence,
    Measured,
    measure_fitted,
    measure_trained,
)
from lorkit.decompose.events import Listener
from lorkit.decompose.methods import get_method, needs_foundation
from lorkit.decompose.methods.graphs.base import FittedBaseline
from lorkit.decompose.runs.live_model import deploys_foundation
from lorkit.decompose.tasks import ScoreInputs, get_task
from lorkit.decompose.training.exposure import exposure_of, with_joint_steps
from lorkit.decompose.training.foundation.further_teachers import with_probes_again
from lorkit.decompose.training.foundation.pretraining import with_probes_of
from lorkit.decompose.training.foundation.random_teacher import random_teacher
from lorkit.decompose.training.phases import Trained, train_phases
from lorkit.decompose.training.work_directory import open_work_directory

if TYPE_CHECKING:
    from lightning_fabric import Fabric

ScoreInputsByRegion = Mapping[str, ScoreInputs]
# Increment when the same cell would have other results: stored ones are then repeated.
_REVISION = 7


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell's results, and its score inputs by region: logits, or numbers of masks.

    Attributes:
        method_digest: Digest of its settings without the seed.
        row: Its results.
        score_inputs: By region.
        predicted: By true region, the index of the predicted region of each image; empty if the network was told it.
        unknown: The results where the region is unknown; None if the network needs it.
    """

    method_digest: str
    row: CellRow
    score_inputs: ScoreInputsByRegion
    predicted: Mapping[str, Ints] = field(default_factory=dict)
    unknown: Cell | None = None


def run_cell(
    compared: ComparedMethod,
    seed: int,
    fraction: float,
    data: ComparisonData,
    root: Path,
    fabric: Fabric,
    on_event: Listener,
) -> Cell:
    """Read a finished cell, or train and score it; an interrupted one continues after its last epoch.

    A cell that was scored on the test part has results on validation too, so it serves for both.

    Args:
        compared: The method.
        seed: Of initial weights, order, augmentation and the choice of a fraction.
        fraction: Of the training groups of each region.
        data: Data and teacher.
        root: Directory of cells.
        fabric: A launched Fabric.
        on_event: Receives the progress of training.

    Raises:
        BusyError: Another process trains this cell.
    """
    config = compared.config.model_copy(update={"seed": seed})
    if deploys_foundation(config):
        data = data.for_teacher
    places = {
        split: _inputs(compared.digest_of(seed), fraction, data, split) for split in dict.fromkeys(("test", data.split))
    }
    for inputs in places.values():
        if is_current(root / inputs[:16], "cell", inputs):
            return _read(root / inputs[:16], data.split)
    inputs = places[data.split]
    directory = root / inputs[:16]
    with open_work_directory(directory, fabric, resume=True) as work:
        if not work.finished_elsewhere("cell", inputs):
            taught = replace(compared, config=config)
            measured = _measured(taught, fraction, data, work.checkpoints, fabric, on_event)
            head = CellHead(method=config.method, seed=seed, fraction=fraction)
            if compared.random_teacher:
                head = head.with_changes(random_teacher=True)
            document = _document(measured, data, head, compared)
            synthetic = data.training_data.regions.synthetic
            work.finish(lambda staging: _write(staging, document, measured.evidence, inputs, synthetic))
    return _read(directory, data.split)


def stored_cells(root: Path, data: ComparisonData) -> Iterator[Cell]:
    """Yield each finished cell of the same data and teacher that has results on the scored part, once.

    If a cell was scored on validation and later on test, the later one is used for both, as in `run_cell`.
    """
    cells: dict[tuple[str, int, float], Cell] = {}
    for path in sorted(root.glob(f"*/{MANIFEST}")):
        if path.parent.name.startswith(".") or not (path.parent / _file(data.split)).is_file():
            continue
        manifest = read_manifest(path.parent, kind="cell", verify=False)
        extra = manifest.extra
        if (extra.get("revision"), extra.get("bench")) == (_REVISION, data.digest):
            check_files(manifest)
            cell = _read(path.parent, data.split)
            key = (cell.method_digest, cell.row.seed, cell.row.fraction)
            if key not in cells or (path.parent / _file("test")).is_file():
                cells[key] = cell
    yield from cells.values()


def scores_by_case(prepared: PreparedRegion, score_inputs: ScoreInputs) -> NDArray[np.float64]:
    """Return the task's (N, S) scores of each case of a prepared part."""
    return get_task(prepared.region.task).scores_by_case(prepared.region, prepared.targets, score_inputs)


def _inputs(settings: str, fraction: float, data: ComparisonData, split: str) -> str:
    own = {"settings": settings, "fraction": fraction, "split": split}
    return digest_json({"revision": _REVISION, "bench": data.digest, **own})


def _file(split: str) -> str:
    return f"evidence-{split}.safetensors"


def _read(directory: Path, split: str) -> Cell:
    document = CellDocument.read(directory / "cell.json")
    tensors = {name: value.numpy() for name, value in load_tensors(directory / _file(split)).items()}
    score_inputs = {name: tensors[name] for name in document.regions[split]}
    found = {"regions": document.regions[split], "exposure": document.exposure}
    row = CellRow.model_validate({**dict(document.head), **dict(document.costs), **found})
    cell = Cell(method_digest=document.arm, row=row, score_inputs=score_inputs)
    if split not in document.unknown:
        return cell
    without = document.unknown[split]
    results = {"regions": without.regions, "prediction": without.prediction}
    unknown = Cell(
        method_digest=document.arm,
        row=row.with_changes(**results, **dict(without.costs)),
        score_inputs={name: tensors[f"{UNKNOWN}{name}"] for name in without.regions},
        predicted={name: tensors[f"{PREDICTED}{name}"] for name in without.regions},
    )
    return replace(cell, unknown=unknown)


def _measured(
    compared: ComparedMethod,
    fraction: float,
    data: ComparisonData,
    checkpoints: Path,
    fabric: Fabric,
    on_event: Listener,
) -> Measured:
    config, method = compared.config, get_method(compared.config.method)
    if isinstance(method, FittedBaseline):  # without checkpoints: an interrupted fit is repeated
        return measure_fitted(method, config, data, on_event)
    trained, exposure = _train(compared, fraction, data, checkpoints, fabric, on_event)
    return measure_trained(trained, exposure, data, config)


def _train(
    compared: ComparedMethod,
    fraction: float,
    data: ComparisonData,
    checkpoints: Path,
    fabric: Fabric,
    on_event: Listener,
) -> tuple[Trained, dict[str, Exposure]]:
    config, method, foundation = compared.config, get_method(compared.config.method), None
    known = data.training_data if compared.uses_unlabelled else data.training_data.labelled
    rest = compared.uses_unlabelled and config.unlabelled.rest
    training_data = of_fraction(known, fraction, seed=config.seed, rest=rest)
    if compared.random_teacher and data.foundation is not None:
        foundation = random_teacher(config, data.foundation, training_data, on_event)
    elif needs_foundation(method) and data.foundation is not None:
        # a probe fitted on all patients would leak information of excluded ones
        foundation = with_probes_of(data.foundation, training_data, on_event) if fraction < 1 else data.foundation
    further = data.further if method.uses_teacher and config.teachers else ()
    if fraction < 1:
        further = with_probes_again(further, training_data, on_event)
    counts = {name: len(one) for name, one in training_data.train.items()}
    config = method.fit_to_counts(config, training_data.counts)
    if data.budget == "steps":
        config = with_joint_steps(config, method, training_data.regions, counts)
    trained = train_phases(
        config,
        method,
        training_data,
        foundation,
        directory=checkpoints,
        fabric=fabric,
        on_event=on_event,
        foundations=data.foundations,
        further=further,
    )
    return trained, exposure_of(method, config, training_data.regions, counts)


def _document(measured: Measured, data: ComparisonData, head: CellHead, compared: ComparedMethod) -> CellDocument:
    document = CellDocument(
        head=head,
        regions=measured.regions,
        costs=measured.costs,
        exposure=measured.exposure,
        history=measured.history,
        arm=compared.digest,
        bench=data.digest,
    )
    if measured.statistics:
        document = document.with_changes(teacher_cache=measured.statistics)
    return document.with_changes(unknown=dict(measured.unknown)) if measured.unknown else document


def _write(staging: Path, document: CellDocument, evidence: Evidence, inputs: str, synthetic: bool) -> None:
    document.write(staging / "cell.json")
    for split, values in evidence.items():
        save_tensors(staging / _file(split), {name: torch.from_numpy(value) for name, value in values.items()})
    extra = {"revision": _REVISION, "bench": document.bench}
    write_manifest(staging, "cell", synthetic=synthetic, inputs=inputs, extra=extra)
