"""One cell of a comparison: an arm, a seed and a fraction of the training groups, trained and judged once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from lorkit.decompose.artifacts import (
    MANIFEST,
    SCHEMA_VERSION,
    check_files,
    digest_json,
    is_current,
    load_tensors,
    read_json,
    read_manifest,
    save_tensors,
    write_json,
    write_manifest,
)
from lorkit.decompose.config import Config
from lorkit.decompose.data import PreparedRegion, RegionSamples, Splits
from lorkit.decompose.data.fractions import take_fraction
from lorkit.decompose.evaluation.comparison.compared_methods import Arm, settings_digest
from lorkit.decompose.evaluation.inference import collect_score_inputs
from lorkit.decompose.events import Listener
from lorkit.decompose.methods import get_method, needs_foundation
from lorkit.decompose.models.cost import count_macs, count_parameters
from lorkit.decompose.models.deployable import Deployable
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.foundation.teacher import Teacher
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.runs.live_model import deploys_foundation
from lorkit.decompose.tasks import ScoreInputs, get_task
from lorkit.decompose.training.foundation.pretraining import foundation_inputs, with_probes_of
from lorkit.decompose.training.phases import Trained, train_phases
from lorkit.decompose.training.training_data import TrainingData, prepare_for_teacher, prepare_parts
from lorkit.decompose.training.work_directory import open_work_directory

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Evidences = Mapping[str, ScoreInputs]
# Raised when the same cell would be trained or measured otherwise: stored ones are then done again.
_REVISION = 4


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all cells of a comparison share.

    Attributes:
        material: Regions with their whole training and validation parts, from which fractions are taken.
        test: Whole test parts; None where settings are still being chosen, and then nobody can look at them.
        foundation: The teacher; None when no method needs one.
        teacher_test: `test` as the foundation sees it; None where that is the same.
        digest: Digest of data, splits and foundation.
        foundations: Where they lie; the teacher's features are kept in it.
    """

    material: TrainingData
    test: Mapping[str, PreparedRegion] | None
    foundation: Foundation | None
    digest: str
    foundations: Path = Path("foundations")
    teacher_test: Mapping[str, PreparedRegion] | None = None

    @property
    def seen_by_teacher(self) -> Bench:
        """The same samples as the foundation sees them, which judge it and the methods that deploy it."""
        test = self.test if self.teacher_test is None else self.teacher_test
        return replace(self, material=self.material.for_teacher, test=test, teacher_test=None)

    @property
    def split(self) -> str:
        """Name of the part that judges."""
        return "val" if self.test is None else "test"

    @property
    def judged(self) -> Mapping[str, PreparedRegion]:
        """The part that judges."""
        return self.material.val if self.test is None else self.test

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, *spatial) of an image."""
        return tuple(next(iter(self.material.val.values())).images.shape[1:])


def bench_of(
    config: Config,
    samples: Mapping[str, RegionSamples],
    splits: Splits,
    split: str,
    teacher: Teacher | None,
    on_event: Listener,
) -> Bench:
    """Prepare what the cells of a comparison share: the parts they train on, and the one that judges them."""
    names = tuple(dict.fromkeys(("train", "val", split)))
    parts = prepare_parts(config, samples, splits, config.image, names, on_event)
    seen = prepare_for_teacher(config, samples, splits, config.image, names, on_event)
    regions = RegionSet(one.region for one in samples.values())
    digests = {name: one.digest for name, one in samples.items()}
    training_data = TrainingData(regions=regions, train=parts["train"], val=parts["val"], digests=digests, teacher=seen)
    # what decides a cell besides its own settings; samples' digests hold labels and groups, not only pixels
    shared = {"data": digests, "split": splits.to_json(samples)["regions"]}
    digest = digest_json(shared | {"foundation": foundation_inputs(config, training_data, teacher)})
    unseen = None if seen is None else seen.get("test")
    return Bench(material=training_data, test=parts.get("test"), foundation=None, digest=digest, teacher_test=unseen)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell's figures, and the evidence by region that its blocks were scored from: logits, or counts of pixels."""

    arm: str
    row: dict[str, Any]
    evidence: Evidences


def run_cell(
    arm: Arm, seed: int, fraction: float, bench: Bench, root: Path, fabric: Fabric, on_event: Listener
) -> Cell:
    """Read a cell that is there already, or train and judge it; an interrupted one continues after its last epoch.

    A cell that was judged on the test part has figures on validation too, so one of them serves both.

    Args:
        arm: What is trained.
        seed: Of initial weights, order, augmentation and the choice of a fraction.
        fraction: Of the training groups of each region.
        bench: Data and teacher.
        root: Directory of cells.
        fabric: A launched Fabric.
        on_event: Receives the progress of training.

    Raises:
        BusyError: Another process trains this very cell.
    """
    config = arm.config.model_copy(update={"seed": seed})
    if deploys_foundation(config):
        bench = bench.seen_by_teacher
    places = {split: _inputs(config, fraction, bench, split) for split in dict.fromkeys(("test", bench.split))}
    for inputs in places.values():
        if is_current(root / inputs[:16], "cell", inputs):
            return _read(root / inputs[:16], bench.split)
    inputs = places[bench.split]
    directory = root / inputs[:16]
    with open_work_directory(directory, resume=True, fabric=fabric) as work:
        if not work.finished_elsewhere("cell", inputs):
            trained = _train(config, fraction, bench, work.checkpoints, fabric, on_event)
            head = {"method": config.method, "seed": seed, "fraction": fraction}
            document, evidence = _measure(trained, bench, head)
            document |= {"arm": arm.digest, "bench": bench.digest}
            work.finish(lambda staging: _write(staging, document, evidence, inputs, bench.material.regions.synthetic))
    return _read(directory, bench.split)


def stored_cells(root: Path, bench: Bench) -> Iterator[Cell]:
    """Yield every finished cell of the same data and teacher that has figures on the judging part, each once.

    A cell that was judged on validation and again on test has its figures on validation twice; the later one stands
    for both, as in `run_cell`.
    """
    cells: dict[tuple[str, int, float], Cell] = {}
    for path in sorted(root.glob(f"*/{MANIFEST}")):
        if path.parent.name.startswith(".") or not (path.parent / _file(bench.split)).is_file():
            continue
        manifest = read_manifest(path.parent, kind="cell", verify=False)
        extra = manifest.extra
        if (extra.get("revision"), extra.get("bench")) == (_REVISION, bench.digest):
            check_files(manifest)
            cell = _read(path.parent, bench.split)
            key = (cell.arm, cell.row["seed"], cell.row["fraction"])
            if key not in cells or (path.parent / _file("test")).is_file():
                cells[key] = cell
    yield from cells.values()


def block_of(prepared: PreparedRegion, evidence: ScoreInputs) -> dict[str, Any]:
    """Score evidence on a prepared part; the figures of an `evaluate` block without its tables."""
    task = get_task(prepared.region.task)
    found = task.scores(prepared.region, prepared.targets, evidence, prepared.groups)
    return {name: found[name] for name in ("n", "groups", *task.metrics, "ci")}


def cases_of(prepared: PreparedRegion, evidence: ScoreInputs) -> NDArray[np.float64]:
    """Return the task's (N, S) `cases` of a prepared part."""
    return get_task(prepared.region.task).scores_by_case(prepared.region, prepared.targets, evidence)


def cost_of(networks: Mapping[str, Deployable], shape: tuple[int, ...]) -> dict[str, int]:
    """Return parameters, MACs and bytes of the largest of the regions' networks: what one machine has to carry."""
    tensors = [list(network.network.state_dict().values()) for network in networks.values()]
    return {
        "parameters": max(count_parameters(network) for network in networks.values()),
        "macs": max(count_macs(network, shape) for network in networks.values()),
        "deployed_bytes": max(sum(value.numel() * value.element_size() for value in values) for values in tensors),
    }


def _inputs(config: Config, fraction: float, bench: Bench, split: str) -> str:
    own = {"settings": settings_digest(config), "fraction": fraction, "split": split}
    return digest_json({"revision": _REVISION, "bench": bench.digest, **own})


def _file(split: str) -> str:
    return f"evidence-{split}.safetensors"


def _read(directory: Path, split: str) -> Cell:
    document = read_json(directory / "cell.json", kind="cell")
    evidence = {name: value.numpy() for name, value in load_tensors(directory / _file(split)).items()}
    row = {**document["head"], "regions": document["regions"][split], **document["costs"]}
    return Cell(arm=document["arm"], row=row, evidence=evidence)


def _train(
    config: Config, fraction: float, bench: Bench, checkpoints: Path, fabric: Fabric, on_event: Listener
) -> Trained:
    method = get_method(config.method)
    training_data, foundation = bench.material, None
    train = {name: take_fraction(one, fraction, seed=config.seed) for name, one in training_data.train.items()}
    seen = training_data.teacher
    if seen is not None:  # the same groups: a fraction depends on their names and labels
        part = {name: take_fraction(one, fraction, seed=config.seed) for name, one in seen["train"].items()}
        seen = {**seen, "train": part}
    training_data = replace(training_data, train=train, teacher=seen)
    if needs_foundation(method) and bench.foundation is not None:
        # a probe that was fitted on all patients would bring the others' into a student of few
        foundation = with_probes_of(bench.foundation, training_data, on_event) if fraction < 1 else bench.foundation
    return train_phases(
        config,
        method,
        training_data,
        foundation,
        directory=checkpoints,
        fabric=fabric,
        on_event=on_event,
        foundations=bench.foundations,
    )


def _measure(trained: Trained, bench: Bench, head: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Evidences]]:
    networks = {name: trained.live.deployable(name) for name in bench.material.regions.names}
    parts = {"val": bench.material.val} | ({"test": bench.test} if bench.test is not None else {})
    evidence: dict[str, Evidences] = {
        split: {name: collect_score_inputs(network, part[name]) for name, network in networks.items()}
        for split, part in parts.items()
    }
    blocks = {
        split: {name: block_of(part[name], evidence[split][name]) for name in networks} for split, part in parts.items()
    }
    training = {"training_parameters": trained.parameters, "training_macs": trained.macs}
    costs = {**cost_of(networks, bench.shape), **training, "train_seconds": trained.seconds}
    kept = {"teacher_cache": trained.cache_statistics} if trained.cache_statistics else {}
    history = [row for end in trained.ends for row in end.history]
    return {"head": head, "regions": blocks, "costs": costs, "history": history, **kept}, evidence


def _write(
    staging: Path, document: dict[str, Any], evidence: dict[str, Evidences], inputs: str, synthetic: bool
) -> None:
    header = {"schema_version": SCHEMA_VERSION, "kind": "cell", "warnings": []}
    write_json(staging / "cell.json", {**header, **document})
    for split, values in evidence.items():
        save_tensors(staging / _file(split), {name: torch.from_numpy(value) for name, value in values.items()})
    extra = {"revision": _REVISION, "bench": document["bench"]}
    write_manifest(staging, "cell", synthetic=synthetic, inputs=inputs, extra=extra)
