"""The foundation model: a user's weights, or one pre-trained here on all regions, found again by its digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from lorkit.decompose.artifacts import digest_file, digest_json, is_current
from lorkit.decompose.config import Config, TrainConfig
from lorkit.decompose.data import PreparedRegion
from lorkit.decompose.errors import DataError
from lorkit.decompose.events import Listener, Notice
from lorkit.decompose.methods.base import TrainingModule
from lorkit.decompose.methods.mtl import shared_network
from lorkit.decompose.models.foundation import Foundation, load_foundation, load_user_weights, save_foundation
from lorkit.decompose.probing import features_of, fit_probe
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.training import Phase, fit
from lorkit.decompose.workplace import working

_PATHS = {"data", "train", "val", "test"}


@dataclass(frozen=True, kw_only=True)
class Material:
    """What training works on: regions, and the prepared training and validation parts of each."""

    regions: RegionSet
    train: Mapping[str, PreparedRegion]
    val: Mapping[str, PreparedRegion]
    digests: Mapping[str, str]


def foundation_settings(config: Config) -> TrainConfig:
    """Return the training settings of the foundation: the student's, with its own number of epochs."""
    epochs = config.foundation.epochs or config.train.epochs
    return config.train.model_copy(update={"epochs": epochs})


def foundation_regions(config: Config, regions: RegionSet) -> RegionSet:
    """Return the regions that the foundation is pre-trained on."""
    wanted = config.foundation.regions
    return regions if wanted == "all" else RegionSet(regions.get(name) for name in wanted)


def foundation_inputs(config: Config, material: Material) -> str:
    """Return the digest of everything that decides the foundation's weights."""
    names = foundation_regions(config, material.regions).names
    if config.foundation.weights is not None:
        path = Path(config.foundation.weights)
        if not path.is_file():
            raise DataError(
                f"foundation.weights: no file {path}", required="a weights file", fix="correct the path, or set null"
            )
        source: dict[str, Any] = {"weights": digest_file(path), "key_map": config.foundation.key_map}
    else:
        source = {
            "train": foundation_settings(config).model_dump(mode="json"),
            "data": {name: material.digests[name] for name in names},
            "split": config.split.model_dump(mode="json"),
            "readers": {name: config.regions[name].model_dump(mode="json", exclude=_PATHS) for name in names},
        }
    settings = {"backbone": config.foundation.backbone, "image": config.image.model_dump(mode="json")}
    return digest_json({**settings, **source, "regions": names, "seed": config.seed})


def foundation_for(
    config: Config, material: Material, root: Path, fabric: Fabric, on_event: Listener, *, resume: bool, force: bool
) -> tuple[Foundation, Path | None]:
    """Load the user's foundation, reuse the one pre-trained from the same inputs, or pre-train it now.

    Returns:
        The foundation, and its artifact directory where it was pre-trained.
    """
    if config.foundation.weights is not None:
        return _user_foundation(config, material.regions, on_event), None
    inputs = foundation_inputs(config, material)
    directory = root / inputs[:16]
    if force or not is_current(directory, "foundation", inputs):
        _pretrain(config, material, directory, inputs, fabric, on_event, resume=resume and not force)
    else:
        on_event(Notice(text=f"foundation {directory} is up to date"))
    return load_foundation(directory), directory


def with_probes(foundation: Foundation, material: Material, on_event: Listener) -> Foundation:
    """Return the foundation with a head for every region, a linear probe where it has none of its own."""
    missing = [region for region in material.regions if foundation.heads.get(region.name) is None]
    if not missing and foundation.regions.names == material.regions.names:
        return foundation
    source = foundation.model
    model = type(source)(
        source.backbone, material.regions, mean=source.normalise.mean.tolist(), std=source.normalise.std.tolist()
    )
    heads = dict(foundation.heads)
    for region in material.regions:
        if region.name in foundation.regions.names and heads.get(region.name) == "own":
            model.heads[region.name] = source.heads[region.name]
            continue
        on_event(Notice(text=f"foundation has no head for '{region.name}': fitting a linear probe on its features"))
        name = region.name
        parts = (features_of(model, material.train[name], name), features_of(model, material.val[name], name))
        model.heads[name] = fit_probe(*parts, len(region.classes))
        heads[name] = "probe"
    ordered = {name: heads[name] for name in material.regions.names}
    return Foundation(
        model=model.eval(),
        backbone=foundation.backbone,
        regions=material.regions,
        heads=ordered,
        image=foundation.image,
        source=foundation.source,
    )


def _pretrain(
    config: Config,
    material: Material,
    directory: Path,
    inputs: str,
    fabric: Fabric,
    on_event: Listener,
    *,
    resume: bool,
) -> None:
    regions = foundation_regions(config, material.regions)
    settings = foundation_settings(config)
    torch.manual_seed(config.seed)
    with working(directory, resume=resume) as place:
        network = shared_network(config, config.foundation.backbone, regions)
        phase = Phase(
            name="foundation",
            regions=regions,
            train=material.train,
            val=material.val,
            settings=settings,
            seed=config.seed,
            directory=place.checkpoints / "foundation",
        )
        module = TrainingModule(network, settings)
        for event in fit(module, phase, fabric, resume=True):
            on_event(event)
        foundation = Foundation(
            model=network.cpu(),
            backbone=config.foundation.backbone,
            regions=regions,
            heads=dict.fromkeys(regions.names, "own"),
            image=config.image.model_dump(mode="json"),
            source={"pretrained": inputs},
        )
        place.finish(lambda staging: save_foundation(foundation, staging, synthetic=regions.synthetic, inputs=inputs))


def _user_foundation(config: Config, regions: RegionSet, on_event: Listener) -> Foundation:
    network = shared_network(config, config.foundation.backbone, regions)
    report = load_user_weights(network.backbone, Path(str(config.foundation.weights)), config.foundation.key_map)
    on_event(Notice(text=str(report)))
    for head in network.heads.values():
        nn.init.zeros_(head.weight)  # type: ignore[arg-type]
    return Foundation(
        model=network,
        backbone=config.foundation.backbone,
        regions=RegionSet([]),
        heads={},
        image=config.image.model_dump(mode="json"),
        source={"weights": digest_file(Path(str(config.foundation.weights))), "report": str(report)},
    )
