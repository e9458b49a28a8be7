"""Fine-tune an extracted expert on other data: its network replaces the foundation model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Unpack, cast

import torch

from lorkit.decompose.artifacts import MANIFEST, read_manifest
from lorkit.decompose.config import Config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.events import Notice, ignore
from lorkit.decompose.lifecycle.provenance import origin_record
from lorkit.decompose.lifecycle.settings import is_stated
from lorkit.decompose.models.backbones.outputs import without_idle_decoder
from lorkit.decompose.models.backbones.registry import build_backbone, detach_head
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.runs import RUNS, list_runs
from lorkit.decompose.runs.expert import WEIGHTS, LoadedExpert, load_expert
from lorkit.decompose.tasks import dense_outputs
from lorkit.decompose.training.new_run import RunOptions, TrainResult
from lorkit.decompose.training.training import Start, train
from lorkit.decompose.training.training_data import TrainingData


def finetune_expert(config: Config, expert: LoadedExpert | Path | str, **options: Unpack[RunOptions]) -> TrainResult:
    """Train all weights of a copy of an expert's network for each region of a configuration.

    The expert replaces the foundation of the run: the gate compares the result with the original expert, under its own
    head or a linear probe. Backbone, channels and normalisation are the expert's; so is the image size unless the
    configuration states one.

    Args:
        config: The new regions and training; its method is `finetune`.
        expert: An expert's directory, also a copied one.
        options: As for `train`.

    Returns:
        As for `train`; the run's manifest has the expert's digest as its `origin`. A region with exactly the expert's
        classes starts with its head, any other with a linear probe on its features.

    Raises:
        UsageError: There is no expert, or its weights are bound to another image size.
        ArtifactError: It is damaged.
        MissingRuntimeError: `tensorboard` is not installed.
    """
    loaded = expert if isinstance(expert, LoadedExpert) else _load(Path(expert), Path(options.get("out", RUNS)))
    notices: list[str] = []
    resolved = _with_expert_network(config, loaded, notices)
    for text in notices:
        options.get("on_event", ignore)(Notice(text=text))
    origin = origin_record(loaded.manifest, "finetune", region=loaded.region.name)
    synthetic = loaded.info.synthetic or loaded.manifest.synthetic
    start = Start(foundation=partial(_foundation, loaded, resolved), origin=origin, synthetic=synthetic)
    return train(resolved, start=start, **options)


def _load(path: Path, root: Path) -> LoadedExpert:
    if not (path / MANIFEST).is_file():
        known = [place.as_posix() for run in list_runs(root) for place in sorted(run.glob("experts/*"))]
        raise UsageError(
            f"no expert at {path}",
            required=f"the directory of an extracted expert, such as {known[0]}" if known else "an extracted expert",
            fix="name one with --from" if known else "write one with `decompose extract`",
        )
    if read_manifest(path, verify=False).kind == "run":
        raise UsageError(
            f"{path} is a run",
            required="one of its extracted experts",
            fix=f"`decompose extract --run {path}`, then --from {path}/experts/REGION",
        )
    return load_expert(path)


def _with_expert_network(config: Config, expert: LoadedExpert, notices: list[str]) -> Config:
    """Return the configuration with the expert's network, with notices on settings that it replaces."""
    info = expert.info
    image: dict[str, Any] = {
        "channels": info.image.channels,
        "mean": tuple(info.normalise.mean),
        "std": tuple(info.normalise.std),
    }
    if "size" not in config.image.model_fields_set:
        image["size"] = tuple(info.image.size)
    backbone = info.backbone
    path = str((expert.path / WEIGHTS).resolve())
    weights = {"backbone": backbone, "weights": path, "key_map": None, "finetune": None, "image": None}
    own = {"backbone": backbone, "weights": None, "key_map": None}
    for section, values in (("image", image), ("student", own), ("foundation", weights)):
        stated = getattr(config, section)
        for key, value in values.items():
            if is_stated(stated, key) and getattr(stated, key) != value:
                notices.append(f"{section}.{key} is {value}, as for the expert, not {getattr(stated, key)}")
    resolved = config.model_copy(
        update={
            "image": config.image.model_copy(update=image),
            "student": config.student.model_copy(update=own),
            "foundation": config.foundation.model_copy(update={**weights, "regions": "all"}),
        }
    )
    _check_size(resolved, expert)
    return resolved


def _check_size(config: Config, expert: LoadedExpert) -> None:
    with torch.device("meta"):
        wanted = build_backbone(
            config.student.network,
            channels=config.image.channels,
            image_size=config.image.size,
            dense=dense_outputs([expert.region]),
        ).state_dict()
    given = detach_head(expert.plain).state_dict()
    if {key: value.shape for key, value in wanted.items()} != {key: value.shape for key, value in given.items()}:
        raise UsageError(
            f"image.size = {list(config.image.size)} for a {config.student.network} of {expert.info.image.size}",
            required="the size that its weights are made for",
            fix="leave image.size out",
        )


def _foundation(expert: LoadedExpert, config: Config, training_data: TrainingData) -> Foundation:
    """Return the expert as a foundation: its backbone, and its head for regions with exactly its classes."""
    image, source = config.image, expert.plain
    backbone: Any = without_idle_decoder(detach_head(source), dense=dense_outputs(training_data.regions))
    backbone.image_shape = (image.channels, *image.size)
    model = RegionalModel(backbone, training_data.regions, mean=image.mean, std=image.std)
    head = source.get_submodule(cast(Any, source).head_name)
    same = RegionSet(
        one for one in training_data.regions if (one.task, one.classes) == (expert.region.task, expert.region.classes)
    )
    for name in same.names:
        model.heads[name].load_state_dict(head.state_dict())
    return Foundation(
        model=model.eval(),
        backbone=config.student.network,
        regions=same,
        heads=dict.fromkeys(same.names, "own"),
        image=image.model_dump(mode="json"),
        source={"expert": expert.manifest.digest},
    )
