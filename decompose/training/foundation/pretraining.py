"""The foundation model: the user's weights, or one pre-trained on all regions and found again by its digest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lorkit.decompose.artifacts import MANIFEST, digest_file, digest_json, is_current, write_text
from lorkit.decompose.config import Config, TrainConfig
from lorkit.decompose.errors import DataError
from lorkit.decompose.events import Finished, Listener, Notice
from lorkit.decompose.methods.base import TrainingModule
from lorkit.decompose.methods.probes import probe_for
from lorkit.decompose.models.foundation.model import Foundation, load_foundation, save_foundation
from lorkit.decompose.models.foundation.teacher import Teacher
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.training.foundation.resolving import (
    foundation_from_teacher,
    foundation_network,
    load_user_foundation,
)
from lorkit.decompose.training.loop.epochs import Phase, fit
from lorkit.decompose.training.training_data import TrainingData
from lorkit.decompose.training.work_directory import WorkDirectory, open_work_directory

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_PATHS = {"data", "train", "val", "test"}


def foundation_settings(config: Config) -> TrainConfig:
    """Return the training settings of the foundation: those of the student, with its own number of epochs.

    Gradient balancing, conflict logging, `min_steps` and `views` apply only to the student, so that one foundation
    serves all of them.
    """
    epochs = config.foundation.epochs or config.train.epochs
    update: dict[str, Any] = {"epochs": epochs, "balancer": "sum", "log_conflict": 0, "min_steps": None}
    if config.train.augment is not None:
        update["augment"] = config.train.augment.model_copy(update={"views": None})
    return config.train.model_copy(update=update)


def foundation_regions(config: Config, regions: RegionSet) -> RegionSet:
    """Return the regions that the foundation is pre-trained on."""
    wanted = config.foundation.regions
    return regions if wanted == "all" else RegionSet(regions.get(name) for name in wanted)


def foundation_inputs(config: Config, training_data: TrainingData, teacher: Teacher | None = None) -> str:
    """Return the digest of everything that determines the foundation's weights."""
    names = foundation_regions(config, training_data.regions).names
    if teacher is not None:
        source: dict[str, Any] = {"teacher": teacher.digest}
    elif config.foundation.weights is not None:
        path = Path(config.foundation.weights)
        source = {"weights": _weights_digest(path), "key_map": config.foundation.key_map}
    else:
        source = {
            "train": foundation_settings(config).model_dump(mode="json"),
            "data": {name: training_data.digests[name] for name in names},
            "split": config.split.model_dump(mode="json"),
            "readers": {name: config.regions[name].model_dump(mode="json", exclude=_PATHS) for name in names},
        }
    settings = {"backbone": config.foundation.backbone, "image": config.foundation_image.model_dump(mode="json")}
    return digest_json({**settings, **source, "regions": names, "seed": config.seed})


def _weights_digest(path: Path) -> str:
    file = path / MANIFEST if path.is_dir() else path
    if not file.is_file():
        raise DataError(
            f"foundation.weights: no file {file}",
            required="a weights file, or a directory that `decompose pretrain` wrote",
            fix="correct the path, or set null to pre-train one",
        )
    return digest_file(file)


def foundation_for(
    config: Config,
    training_data: TrainingData,
    root: Path,
    fabric: Fabric,
    on_event: Listener,
    *,
    resume: bool,
    force: bool = False,
    hint: bool = False,
    teacher: Teacher | None = None,
) -> tuple[Foundation, Path | None]:
    """Load the user's foundation, reuse one pre-trained from the same inputs, or pre-train it.

    Args:
        config: Settings.
        training_data: Prepared regions.
        root: Directory of foundations.
        fabric: A launched Fabric.
        on_event: Receives progress.
        resume: Continue an interrupted pre-training.
        force: Pre-train again.
        hint: Refuse, instead of deleting, an interrupted pre-training without `resume` or `force`.
        teacher: The user's own foundation.

    Returns:
        The foundation, and its artifact directory if it was pre-trained.
    """
    if teacher is not None:
        return foundation_from_teacher(teacher, config, training_data.regions), None
    if config.foundation.weights is not None:
        return load_user_foundation(config, training_data.regions, on_event), None
    inputs = foundation_inputs(config, training_data)
    directory = root / inputs[:16]
    if force or not is_current(directory, "foundation", inputs):
        with open_work_directory(directory, resume=resume, force=force, hint=hint, fabric=fabric) as work:
            if force or not work.finished_elsewhere("foundation", inputs):
                _pretrain(config, training_data.for_teacher, work, inputs, fabric, on_event)
    else:
        on_event(Notice(text=f"foundation {directory} is up to date"))
    return load_foundation(directory), directory


def with_probes(foundation: Foundation, training_data: TrainingData, on_event: Listener) -> Foundation:
    """Return the foundation with a head for every region: its own, else a linear probe."""
    missing = [region for region in training_data.regions if foundation.heads.get(region.name) is None]
    if not missing and foundation.regions.names == training_data.regions.names:
        return foundation
    training_data, source = training_data.for_teacher, foundation.model
    model = type(source)(
        source.backbone, training_data.regions, mean=source.normalise.mean.tolist(), std=source.normalise.std.tolist()
    )
    heads = dict(foundation.heads)
    for region in training_data.regions:
        if region.name in foundation.regions.names and heads.get(region.name) == "own":
            model.heads[region.name] = source.heads[region.name]
            continue
        name = region.name
        on_event(Notice(text=f"the foundation has no head for '{name}': a linear probe on its features is used"))
        model.heads[name] = probe_for(model, region, training_data.train[name], training_data.val[name], on_event)
        heads[name] = "probe"
    ordered = {name: heads[name] for name in training_data.regions.names}
    return Foundation(
        model=model.eval(),
        backbone=foundation.backbone,
        regions=training_data.regions,
        heads=ordered,
        image=foundation.image,
        source=foundation.source,
    )


def with_probes_of(foundation: Foundation, training_data: TrainingData, on_event: Listener) -> Foundation:
    """Return the foundation with its linear probes fitted again, on other training parts."""
    own = {name: kind for name, kind in foundation.heads.items() if kind == "own"}
    if len(own) == len(foundation.heads):
        return foundation
    return with_probes(replace(foundation, heads=own), training_data, on_event)


def _pretrain(
    config: Config, training_data: TrainingData, work: WorkDirectory, inputs: str, fabric: Fabric, on_event: Listener
) -> None:
    regions = foundation_regions(config, training_data.regions)
    settings = foundation_settings(config)
    torch.manual_seed(config.seed)
    network = foundation_network(config, regions)
    phase = Phase(
        name="foundation",
        regions=regions,
        train=training_data.train,
        val=training_data.val,
        settings=settings,
        seed=config.seed,
        directory=work.checkpoints / "foundation",
    )
    history = run_phase(TrainingModule(network, settings), phase, fabric, None, on_event).history
    foundation = Foundation(
        model=network.cpu(),
        backbone=config.foundation.backbone,
        regions=regions,
        heads=dict.fromkeys(regions.names, "own"),
        image=config.foundation_image.model_dump(mode="json"),
        source={"pretrained": inputs},
    )

    def write(staging: Path) -> None:
        write_text(staging / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in history))
        save_foundation(foundation, staging, synthetic=regions.synthetic, inputs=inputs)

    work.finish(write)


def run_phase(
    module: TrainingModule, phase: Phase, fabric: Fabric, teacher: Foundation | None, on_event: Listener
) -> Finished:
    """Train one phase and return its result, from the newest checkpoint in its working directory, if any.

    `open_work_directory` has already decided whether to resume, so existing checkpoints are used.
    """
    event = None
    for event in fit(module, phase, fabric, foundation=teacher, resume=True):
        if fabric.is_global_zero:
            on_event(event)
    assert isinstance(event, Finished)
    return event
