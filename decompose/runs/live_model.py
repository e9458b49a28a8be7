"""The live model of a run, before experts are merged: build, save and load it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lorkit.decompose.artifacts import load_tensors, read_json, save_tensors
from lorkit.decompose.config import Config, load_config
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.student import with_fresh_student
from lorkit.decompose.models.backbones.gated_encoders import parse_gated
from lorkit.decompose.models.backbones.unets import UNETS
from lorkit.decompose.models.foundation.model import load_strict
from lorkit.decompose.models.regional import RegionalModel, SeparateModels
from lorkit.decompose.regions import RegionSet

WEIGHTS = "model.safetensors"


def build_model(config: Config, regions: RegionSet) -> RegionalModel | SeparateModels:
    """Build the network of a method, with fresh weights, on the CPU.

    The method determines it: one network for all regions or one for each, with experts or without, on the student's
    backbone or the foundation's.

    Raises:
        UsageError: The method is unknown, or the backbone cannot have experts.
    """
    method, config = get_method(config.method), with_fresh_student(config)
    if method.separate:
        return SeparateModels({one.name: method.network(config, RegionSet([one])) for one in regions}, regions)
    return method.network(config, regions)


def tensors_of_decoder(config: Config, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a live model for all regions that are of its U-Net's decoder, which only masks need."""
    name = deployed_backbone(config)
    gated = parse_gated(name)
    unet = UNETS.get(name if gated is None else gated[1])
    parts = "|".join(map(re.escape, unet.decoder)) if unet is not None else "$."  # matches nothing
    inside = re.compile(rf"backbone\.(\d+\.)?({parts})\.")
    return {key: value for key, value in tensors.items() if inside.match(key)}


def deployed_backbone(config: Config) -> str:
    """Return the name of the backbone that a method deploys, for `build_backbone`."""
    return get_method(config.method).deployed_backbone(config)


def deploys_foundation(config: Config) -> bool:
    """Return whether a method deploys the foundation's network, as it is or trained further."""
    return get_method(config.method).starts_from_foundation


def save_model(model: RegionalModel | SeparateModels, directory: Path) -> Path:
    """Write the weights of a live model with all regions to `model.safetensors` in a directory.

    Raises:
        UsageError: The model is fused, so its base weights are not the shared ones.
    """
    save_tensors(directory / WEIGHTS, model.state_dict())
    return directory / WEIGHTS


def load_model(run: Path) -> RegionalModel | SeparateModels:
    """Rebuild the live model of a run directory from `config.yaml`, `regions.json` and `model.safetensors`.

    The weights must match exactly. Digests are checked when the run is opened (`runs.open_run`).

    Returns:
        The model in eval mode, on the CPU.

    Raises:
        ArtifactError: A file is missing or damaged, or the weights are of another model.
    """
    try:
        config = load_config(run / "config.yaml")
        regions = RegionSet.from_json(read_json(run / "regions.json")["regions"])
        model = build_model(config, regions)
    except (KeyError, TypeError, UsageError) as error:
        raise ArtifactError(
            f"{run} does not describe a model ({' '.join(str(error).split())[:160]})",
            required="an intact run directory",
            fix="train again with --force",
        ) from None
    load_strict(model, load_tensors(run / WEIGHTS), run / WEIGHTS)
    model.eval()
    return model
