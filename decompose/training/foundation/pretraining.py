"""The foundation model: the user's weights, as they are or fine-tuned, or one pre-trained on all regions.

A trained foundation is found again by its digest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lorkit.decompose.artifacts import MANIFEST, digest_file, digest_json, is_current, write_text
from lorkit.decompose.artifacts.weights import digest_weights
from lorkit.decompose.config import Config, TrainConfig
from lorkit.decompose.errors import MissingDataError, UsageError, refuse_special
from lorkit.decompose.events import Event, Finished, Listener, Notice
from lorkit.decompose.methods.base import TrainingModule
from lorkit.decompose.methods.probes import probe_for
from lorkit.decompose.models.foundation.model import Foundation, load_foundation, on_same_backbone, save_foundation
from lorkit.decompose.models.foundation.teacher import Teacher
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.training.foundation.resolving import foundation_from_teacher, load_user_foundation, new_foundation
from lorkit.decompose.training.loop.devices import set_layout_
from lorkit.decompose.training.loop.epochs import fit
from lorkit.decompose.training.loop.fine_tuning import check_fine_tuning
from lorkit.decompose.training.loop.phase import Phase
from lorkit.decompose.training.training_data import TrainingData
from lorkit.decompose.training.work_directory import WorkDirectory, open_work_directory, wait_for

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_PATHS = {"data", "train", "val", "test", "unlabelled"}


def foundation_settings(config: Config) -> TrainConfig:
    """Return the training settings of the foundation: those of the student, with its own number of epochs.

    Gradient balancing, conflict logging, `min_steps` and `views` apply only to the student, so that one foundation
    serves all of them; so do logit adjustment and early stopping. Layer-wise rates and frozen epochs are for trained
    weights, which it does not start from.
    """
    epochs = config.foundation.epochs or config.train.epochs
    update: dict[str, Any] = {"epochs": epochs, "balancer": "sum", "log_conflict": 0, "min_steps": None}
    update |= {"layer_decay": None, "freeze_epochs": 0, "logit_adjustment": None, "patience": None}
    tuning = config.foundation.finetune
    if tuning is not None:
        update |= {"lr": tuning.lr or config.train.lr, **tuning.model_dump(exclude={"lr"})}
    if config.train.augment is not None:
        update["augment"] = config.train.augment.model_copy(update={"views": None})
    return config.train.model_copy(update=update)


def foundation_regions(config: Config, regions: RegionSet) -> RegionSet:
    """Return the regions that the foundation is pre-trained on."""
    wanted = config.foundation.regions
    return regions if wanted == "all" else RegionSet(regions.get(name) for name in wanted)


def foundation_inputs(
    config: Config, regions: RegionSet, digests: Mapping[str, str], teacher: Teacher | None = None
) -> str:
    """Return the digest of everything that determines the foundation's weights; `digests` are those of the regions."""
    names = foundation_regions(config, regions).names
    training = {
        "train": foundation_settings(config).model_dump(mode="json"),
        "data": {name: digests[name] for name in names},
        "split": config.split.model_dump(mode="json"),
        "readers": {name: config.regions[name].model_dump(mode="json", exclude=_PATHS) for name in names},
    }
    if teacher is not None:
        source: dict[str, Any] = {"teacher": teacher.digest}
    elif config.foundation.weights is not None:
        path = Path(config.foundation.weights)
        source = {"weights": _weights_digest(path), "key_map": config.foundation.key_map}
        source |= training if config.foundation.finetune is not None else {}
    else:
        source = training
    settings = {"backbone": config.foundation.backbone, "image": config.foundation_image.model_dump(mode="json")}
    return digest_json({**settings, **source, "regions": names, "seed": config.seed})


def _weights_digest(path: Path) -> str:
    file = path / MANIFEST if path.is_dir() else path
    refuse_special(file)
    if not file.is_file():
        raise MissingDataError(
            f"foundation.weights: no file {file}",
            required="a weights file, or a directory that `decompose pretrain` wrote",
            fix="correct the path, or set null to pre-train one",
        )
    return digest_file(file) if path.is_dir() else digest_weights(file)


@dataclass(frozen=True, kw_only=True)
class OpenedFoundation:
    """A foundation with its network, before data are prepared, so that checks and training use the same one.

    Attributes:
        foundation: With its weights, or with fresh ones before pre-training.
        notices: Notices for the user on its source.
        inputs: Digest of everything that determines its weights.
        directory: Its directory; None for a user's foundation that stays as it is.
        random_state: State of the CPU's generator after what is to be trained was built; None if nothing is.
    """

    foundation: Foundation
    notices: Sequence[Event] = ()
    inputs: str = ""
    directory: Path | None = None
    random_state: Tensor | None = None


def open_foundation(
    config: Config,
    regions: RegionSet,
    digests: Mapping[str, str],
    root: Path,
    *,
    force: bool = False,
    teacher: Teacher | None = None,
) -> OpenedFoundation:
    """Load the user's foundation or the one trained from the same inputs, or build the one to pre-train or fine-tune.

    `digests` are those of the regions' data; `root` is the directory of foundations; `force` trains again.
    """
    if teacher is not None:
        return OpenedFoundation(foundation=foundation_from_teacher(teacher, config, regions))
    notices: list[Event] = []
    if config.foundation.weights is not None and config.foundation.finetune is None:
        return OpenedFoundation(foundation=load_user_foundation(config, regions, notices.append), notices=notices)
    inputs = foundation_inputs(config, regions, digests)
    directory = root / inputs[:16]
    if not force and is_current(directory, "foundation", inputs):
        notices.append(Notice(text=f"foundation {directory} is up to date"))
        return OpenedFoundation(foundation=load_foundation(directory), notices=notices, directory=directory)
    members = foundation_regions(config, regions)
    if config.foundation.finetune is not None:
        given = load_user_foundation(config, regions, notices.append)
        torch.manual_seed(config.seed)
        foundation = to_finetune(given, members, inputs)
        check_finetuning(foundation, config)
    else:
        torch.manual_seed(config.seed)
        foundation = replace(new_foundation(config, members), source={"pretrained": inputs})
    state = torch.get_rng_state()
    return OpenedFoundation(
        foundation=foundation, notices=notices, inputs=inputs, directory=directory, random_state=state
    )


def to_finetune(given: Foundation, regions: RegionSet, inputs: str) -> Foundation:
    """Return a foundation with trainable weights and a head for each of some regions: its own, else a fresh one."""
    kept = {name: given.model.heads[name] for name in given.heads if name in regions.names}
    model = on_same_backbone(given.model, regions, kept).requires_grad_(True)
    source = {"finetuned": inputs, "from": dict(given.source)}
    return replace(given, model=model, regions=regions, heads=dict.fromkeys(regions.names, "own"), source=source)


def check_finetuning(foundation: Foundation, config: Config) -> None:
    """Raise UsageError for layer-wise rates of a foundation whose stages are unknown."""
    settings = foundation_settings(config)
    try:
        check_fine_tuning(TrainingModule(foundation.model, settings), settings)
    except UsageError:
        raise UsageError(
            f"foundation.finetune.layer_decay for {config.foundation.backbone}, whose stages are unknown",
            required="a backbone with four stages",
            fix="leave foundation.finetune.layer_decay out, or choose another backbone",
        ) from None


def train_foundation(
    opened: OpenedFoundation,
    config: Config,
    training_data: TrainingData,
    fabric: Fabric,
    on_event: Listener,
    *,
    resume: bool,
    force: bool = False,
    hint: bool = False,
) -> Foundation:
    """Return an opened foundation with its weights: pre-train or fine-tune its network now if that is to be done.

    Args:
        opened: Opened with the same settings and data.
        config: Settings.
        training_data: Prepared regions.
        fabric: A launched Fabric.
        on_event: Receives progress.
        resume: Continue an interrupted pre-training.
        force: Pre-train again.
        hint: Refuse, instead of deleting, an interrupted pre-training if neither is set.
    """
    for notice in opened.notices:
        on_event(notice)
    if opened.directory is None:
        return opened.foundation
    fresh = opened.random_state is not None
    if not fabric.broadcast(fresh):  # the first process decides for all
        return load_foundation(opened.directory) if fresh else opened.foundation
    directory = opened.directory

    def pretrain() -> Foundation:
        with open_work_directory(directory, fabric, resume=resume, force=force, hint=hint) as work:
            if not force and work.finished_elsewhere("foundation", opened.inputs):
                return load_foundation(directory)
            return _pretrain(opened, config, training_data.for_teacher, work, fabric, on_event)

    return wait_for(pretrain, on_event)  # another training may have the same foundation


def with_all_heads(foundation: Foundation, regions: RegionSet) -> Foundation:
    """Return the foundation with a head for every region: its own, else a fresh one for a linear probe."""
    missing = [name for name in regions.names if foundation.heads.get(name) is None]
    if not missing and foundation.regions.names == regions.names:
        if foundation.model.regions.names == regions.names:
            return foundation
        # of an earlier run with more regions, whose heads would be saved too
        heads_here = {name: foundation.model.heads[name] for name in regions.names}
        return replace(foundation, model=on_same_backbone(foundation.model, regions, heads_here))
    known = set(foundation.regions.names) & set(regions.names)
    kept = {name: foundation.model.heads[name] for name in known if foundation.heads.get(name) == "own"}
    heads = {name: "own" if name in kept else "probe" for name in regions.names}
    return replace(foundation, model=on_same_backbone(foundation.model, regions, kept), regions=regions, heads=heads)


def with_probes(foundation: Foundation, training_data: TrainingData, on_event: Listener) -> Foundation:
    """Return the foundation with a head for every region: its own, else a linear probe."""
    headed = with_all_heads(foundation, training_data.regions)
    if headed is foundation:
        return foundation
    model, training_data = headed.model, training_data.for_teacher
    for name in (name for name, kind in headed.heads.items() if kind == "probe"):
        on_event(Notice(text=f"the foundation has no head for '{name}': a linear probe on its features is used"))
        region, train, val = training_data.regions.get(name), training_data.train[name], training_data.val[name]
        model.heads[name] = probe_for(model, region, train, val, on_event)
    return replace(headed, model=model.eval())


def with_probes_of(foundation: Foundation, training_data: TrainingData, on_event: Listener) -> Foundation:
    """Return the foundation with its linear probes fitted again, on other training parts."""
    own = {name: kind for name, kind in foundation.heads.items() if kind == "own"}
    if len(own) == len(foundation.heads):
        return foundation
    return with_probes(replace(foundation, heads=own), training_data, on_event)


def _pretrain(
    opened: OpenedFoundation,
    config: Config,
    training_data: TrainingData,
    work: WorkDirectory,
    fabric: Fabric,
    on_event: Listener,
) -> Foundation:
    foundation, settings = opened.foundation, foundation_settings(config)
    own = config.model_copy(update={"train": settings})
    phase = Phase.of("foundation", training_data, own, work.checkpoints, regions=foundation.regions)
    set_random_state(config.seed, opened.random_state)
    network = foundation.model
    history = run_phase(TrainingModule(network, settings), phase, fabric, (), on_event).history
    network.zero_grad(set_to_none=True)
    set_layout_(network.cpu().eval(), torch.contiguous_format)  # as if it were read back

    def write(staging: Path) -> None:
        write_text(staging / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in history))
        save_foundation(foundation, staging, synthetic=foundation.regions.synthetic, inputs=opened.inputs)

    work.finish(write)
    return foundation


def set_random_state(seed: int, state: Tensor | None) -> None:
    """Seed every generator, and restore that of the CPU to its state after a network was built with this seed."""
    torch.manual_seed(seed)
    if state is not None:
        torch.set_rng_state(state)


def run_phase(
    module: TrainingModule, phase: Phase, fabric: Fabric, teachers: Sequence[Foundation], on_event: Listener
) -> Finished:
    """Train one phase and return its result, from the newest checkpoint in its working directory, if any.

    `open_work_directory` has already decided whether to resume, so existing checkpoints are used.
    """
    event = None
    for event in fit(module, phase, fabric, teachers=teachers, resume=True):
        if fabric.is_global_zero:
            on_event(event)
    assert isinstance(event, Finished)
    return event
