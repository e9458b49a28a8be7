"""The model of one new region: shared weights frozen, without other regions.

The new region is trained in a separate model, so that no step can change the other regions; afterwards its tensors are
joined with those of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from lorkit.decompose.config import Config, LorkdConfig, TrainConfig
from lorkit.decompose.errors import ParityError
from lorkit.decompose.lifecycle.settings import only_region
from lorkit.decompose.methods.lorkd import LorkdModule
from lorkit.decompose.models.foundation.model import Foundation, load_strict
from lorkit.decompose.models.ownership import owner_of
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.runs.live_model import WEIGHTS, build_model

_NORMS = "regions"  # what `RegionNorm` calls the norms of its regions


class AddedRegion(LorkdModule):
    """The LoRKD loss of one region, which trains only that region's parameters.

    Shared weights get no gradient, and shared norms use their running statistics.

    Args:
        live: A model of the region alone, from `single_region_model`.
        train: Settings of the training.
        settings: Distillation terms.
        foundation: The frozen teacher with a head for this region.
    """

    def __init__(
        self, live: RegionalModel, train: TrainConfig, settings: LorkdConfig, foundation: Foundation | None
    ) -> None:
        super().__init__(live, train, settings, foundation)
        for key, parameter in live.named_parameters():
            parameter.requires_grad_(owner_of(key, live.regions.names) is not None)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of everything but the frozen norms, which stay in eval mode."""
        super().train(mode)
        for name, module in self.live.named_modules():
            if isinstance(module, _NormBase) and owner_of(name, self.live.regions.names) is None:
                module.eval()
        return self

    def parameter_groups(self, train: TrainConfig) -> list[dict[str, Any]]:
        """Return the groups of the base class without frozen parameters."""
        groups = super().parameter_groups(train)
        return [{**group, "params": [one for one in group["params"] if one.requires_grad]} for group in groups]


def single_region_model(config: Config, shared: Mapping[str, Tensor], region: Region) -> RegionalModel:
    """Build the model of one new region on the shared weights of a run.

    Its update starts at zero, its norms at the mean of the other regions' norms, its head at random. `shared` are the
    tensors of the run's live model, of all its regions.

    Raises:
        ArtifactError: The tensors are of another model.
    """
    live = cast(RegionalModel, build_model(only_region(config, region.name), RegionSet([region])))
    fresh = live.state_dict()
    own = {key for key in fresh if owner_of(key, (region.name,)) is not None}
    start = {key: _mean_norm(key, fresh[key], shared, region.name) for key in own}
    start |= {key: shared[key] for key in fresh.keys() - own if key in shared}
    load_strict(live, start, Path(WEIGHTS))
    return live


def merge_region(shared: Mapping[str, Tensor], single: RegionalModel) -> dict[str, Tensor]:
    """Return the tensors of a run with those of the region of `single` added.

    Raises:
        ParityError: A shared tensor has changed, so the experts of the other regions would change too.
    """
    merged = dict(shared)
    for key, value in single.state_dict().items():
        if owner_of(key, single.regions.names) is not None:
            merged[key] = value
        elif not torch.equal(value, shared[key]):
            raise ParityError(
                f"training of region '{single.regions.names[0]}' moved the shared tensor '{key}'",
                required="shared weights and norms that do not change",
                fix="report the backbone: a module of it changes outside the optimiser",
            )
    return merged


def check_unchanged(shared: Mapping[str, Tensor], live: RegionalModel, region: str) -> int:
    """Return the number of tensors of a run, all of which are in the model with a new region, equal bit by bit.

    Raises:
        ParityError: One is missing or differs, so that an expert of the run would change.
    """
    tensors = live.state_dict()
    for key, value in shared.items():
        if key not in tensors or not torch.equal(tensors[key], value):
            raise ParityError(
                f"tensor '{key}' of the run is another one with region '{region}'",
                required="all tensors of the run, bit by bit",
                fix="report it",
            )
    return len(shared)


def _mean_norm(key: str, fresh: Tensor, shared: Mapping[str, Tensor], region: str) -> Tensor:
    """Return the mean of the other regions' norms for a key of a norm, else the fresh value.

    The shared weights were trained with norms like these, not with ones and zeros.
    """
    parts = key.split(".")
    at = next((i for i in range(1, len(parts)) if parts[i] == region and parts[i - 1] == _NORMS), None)
    if at is None or not fresh.is_floating_point():
        return fresh
    head, tail = parts[:at], parts[at + 1 :]
    others = [
        value
        for name, value in shared.items()
        if (pieces := name.split("."))[:at] == head and pieces[at + 1 :] == tail and len(pieces) == len(parts)
    ]
    return torch.stack(others).mean(0) if others else fresh
