"""Remove a region from a run: a new run without it, with everything else identical bit by bit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from torch import Tensor

from lorkit.decompose.artifacts import MANIFEST, digest_json, load_tensors, read_json, staged_directory
from lorkit.decompose.config import Config
from lorkit.decompose.data import Splits
from lorkit.decompose.data.splits import SPLIT_KEYS
from lorkit.decompose.documents.training import Plan
from lorkit.decompose.errors import ParityError, UsageError, plural
from lorkit.decompose.events import EpochRow, Notice, ignore
from lorkit.decompose.lifecycle.provenance import cases_of_other_keys, origin_record, teaching_of, with_heads
from lorkit.decompose.lifecycle.settings import without_region
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.student import with_fresh_student
from lorkit.decompose.models.foundation.model import Foundation, load_foundation
from lorkit.decompose.models.ownership import owner_of
from lorkit.decompose.models.regional import RegionalModel, SeparateModels
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.runs import RUNS, Run
from lorkit.decompose.runs.live_model import WEIGHTS, build_model, tensors_of_decoder
from lorkit.decompose.runs.writing import RunContent, write_run
from lorkit.decompose.tasks import dense_outputs
from lorkit.decompose.training.new_run import NewRun, RunOptions, TrainResult
from lorkit.decompose.training.plan import plan_training

_REVISION = 1


@dataclass(frozen=True, kw_only=True)
class _Removal(NewRun):
    """A run, and the region that it loses; `regions` are those that stay."""

    run: Run
    region: str

    def plan(self, foundations: Path) -> Plan:
        """Return the plan of a training with nothing to train."""
        locked = read_json(self.run.path / "splits.json", kind="splits")["regions"]
        kept = {name: locked[name].items() for name in self.regions.names}
        splits = Splits({name: {part: np.arange(len(rows)) for part, rows in parts} for name, parts in kept.items()})
        update = {"weights": str(self.run.foundation_dir), "finetune": None}
        given = self.config.foundation.model_copy(update=update)
        config = with_fresh_student(self.config).model_copy(update={"foundation": given})
        plan = plan_training(config, get_method(config.method), self.regions, splits, foundations)
        origin = origin_record(self.run.manifest, "remove-region")
        return plan.with_changes(phases=[], epochs=0, training_parameters=0, origin=origin)

    def content(self) -> RunContent:
        """Return what stays."""
        run = self.run
        return RunContent(
            config=self.config,
            regions=self.regions,
            splits=_splits(run, self.region),
            live=_live(run, self.config, self.regions, self.region),
            foundation=_foundation(run, self.regions),
            rows=_rows(run.metrics, self.config.method, self.region),
            synthetic=run.synthetic,  # the shared weights were trained on the removed region
            inputs=self.inputs,
            extra={"origin": origin_record(run.manifest, "remove-region"), **teaching_of(run, self.regions.names)},
        )


def remove_region(run: Run, region: str, **options: Unpack[RunOptions]) -> TrainResult:
    """Make a new run without one region, without training and reading data. The old run is not changed.

    Its tensors, its head of the foundation, its split, settings and metrics are removed. The effects of its images on
    the shared backbone and the foundation remain: this removes an expert and unlearns nothing.

    Args:
        run: A finished run.
        region: Which region.
        options: As for `train`; those of a training have no effect.

    Raises:
        UsageError: The region is unknown or the only one, or the method does not separate its regions.
        ArtifactError: The run is damaged.
    """
    regions = _left(run, region)
    inputs = digest_json({"revision": _REVISION, "run": run.manifest.digest, "without": region})
    config = without_region(run.config, region)
    removal = _Removal(config=config, regions=regions, inputs=inputs, run=run, region=region)
    if (known := removal.without_training(**options)) is not None:
        return known
    out, on_event = Path(options.get("out", RUNS)), options.get("on_event", ignore)
    for text in cases_of_other_keys(run, regions.names, out):
        on_event(Notice(text=text))
    content, directory = removal.content(), removal.directory(out)
    with staged_directory(directory) as staging:
        write_run(staging, content)
        mentions = traces(staging, region)
    for path in mentions:
        text = f"'{region}' still occurs in {path}, as part of another name or path: check whether that is acceptable"
        on_event(Notice(text=text))
    return TrainResult(run=directory, regions=regions.names)


def traces(directory: Path, region: str) -> list[str]:
    """Return the text files of a run that contain a region's name; raise ParityError for a tensor named after it."""
    for path in directory.rglob("*.safetensors"):
        named = [key for key in load_tensors(path) if owner_of(key, (region,)) is not None]
        if named:
            raise ParityError(
                f"{path.name} still holds {plural(len(named), 'tensor')} of region '{region}', as '{named[0]}'",
                required="none",
                fix="report the backbone: its modules were not separated by region",
            )
    word = re.compile(rf"(?<![a-z0-9]){re.escape(region)}(?![a-z0-9])")
    texts = [path for path in sorted(directory.rglob("*")) if path.suffix in (".json", ".jsonl", ".yaml")]
    return [path.relative_to(directory).as_posix() for path in texts if word.search(path.read_text("utf-8"))]


def _left(run: Run, region: str) -> RegionSet:
    run.regions.index(region)
    if len(run.regions) == 1:
        raise UsageError(
            f"'{region}' is the only region of run {run.path}",
            required="a run with another region",
            fix="delete the run instead",
        )
    return RegionSet(one for one in run.regions if one.name != region)


def _live(run: Run, config: Config, regions: RegionSet, region: str) -> RegionalModel | SeparateModels:
    tensors = load_tensors(run.path / WEIGHTS)
    kept = {key: value for key, value in tensors.items() if owner_of(key, (region,)) is None}
    live = build_model(config, regions)
    if not dense_outputs(regions):
        kept = {key: kept[key] for key in kept.keys() - tensors_of_decoder(config, kept).keys()}
    if _shapes(live.state_dict()) != _shapes(kept):
        raise UsageError(
            f"--remove-region of a run of method '{config.method}'",
            required="a method whose tensors each belong to one region or to all",
            fix="train again without the region",
        )
    live.load_state_dict(kept)
    return live.eval()


def _shapes(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in tensors.items()}


def _foundation(run: Run, regions: RegionSet) -> Foundation | None:
    if not (run.foundation_dir / MANIFEST).is_file():
        return None
    found = load_foundation(run.foundation_dir)
    known = RegionSet(one for one in regions if one.name in found.heads)
    return with_heads(found, known) if len(known) else None


def _splits(run: Run, region: str) -> dict[str, Any]:
    document = read_json(run.path / "splits.json", kind="splits")
    parts = {key: {name: one for name, one in document[key].items() if name != region} for key in SPLIT_KEYS}
    return {**document, **parts}


def _rows(rows: list[EpochRow], method: str, region: str) -> list[EpochRow]:
    """Return rows of metrics without a region, and without phases of it alone.

    The mean of a score is computed again over the remaining regions.
    """
    kept: list[EpochRow] = []
    for row in rows:
        if row["phase"] in (f"{method}-{region}", f"add-{region}"):
            continue
        loss = {term: _less(values, region) for term, values in row["loss"].items()}
        scores = {key: _less(value, region) for key, value in row["val"].items()}
        means = [value for value in scores.values() if isinstance(value, dict) and value]
        if "mean" in scores and means:
            scores["mean"] = sum(means[0].values()) / len(means[0])
        kept.append({**row, "loss": {term: values for term, values in loss.items() if values}, "val": scores})
    return kept


def _less(values: Any, region: str) -> Any:
    return {name: value for name, value in values.items() if name != region} if isinstance(values, dict) else values
