"""LoRKD: one joint training of a shared backbone, low-rank experts and heads, distilled from a frozen foundation.

The loss is that of `distillation`; LoRKD adds the experts to a distilled shared student.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lorkit.decompose.config import Config, TrainConfig
from lorkit.decompose.errors import plural
from lorkit.decompose.experts import add_experts_, factor_parameters
from lorkit.decompose.experts.insertion import Select
from lorkit.decompose.experts.shared_norms import LEAST_VALUES, scarce_norms
from lorkit.decompose.methods.base import Method, TrainingModule
from lorkit.decompose.methods.distillation.feature_and_logit import DistillingModule, switched_off
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.tasks import dense_outputs


class LorkdModule(DistillingModule):
    """Experts, backbone, heads and projector with the distillation loss."""

    def parameter_groups(self, train: TrainConfig) -> list[dict[str, Any]]:
        """Return the groups of the base class with a separate group for the factors: own rate, by default no decay.

        Weight decay would change the experts of regions that are absent from a batch.
        """
        factors = factor_parameters(self.live)
        ids = {id(parameter) for parameter in factors}
        groups = super().parameter_groups(train)
        for group in groups:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in ids]
        own = {"weight_decay": self.settings.factor_weight_decay, "lr_ratio": self.settings.factor_lr_ratio}
        return [*groups, {"params": factors, **own}]


class Lorkd(Method):
    """`lorkd`: low-rank knowledge decomposition."""

    name = "lorkd"
    uses_teacher = True

    def resolve(self, config: Config, regions: RegionSet, samples: int) -> Config:
        """Keep batch norms shared whose statistics by region would be of too few values, unless the user named some."""
        if config.lorkd.norm == "shared" or config.lorkd.shared_norms is not None:
            return config
        image = config.image
        with torch.device("meta"):  # shapes are enough, and no random number is drawn
            backbone = build_backbone(
                config.student.backbone, channels=image.channels, image_size=image.size, dense=dense_outputs(regions)
            )
        scarce = scarce_norms(backbone, (image.channels, *image.size), samples)
        return config.model_copy(update={"lorkd": config.lorkd.model_copy(update={"shared_norms": tuple(scarce)})})

    def network(self, config: Config, regions: RegionSet) -> RegionalModel:
        """Build the student with an expert and a head for each region; raise UsageError if it cannot have experts."""
        image, least, dense = config.image, config.lorkd.select_min_channels, dense_outputs(regions)
        backbone = build_backbone(config.student.backbone, channels=image.channels, image_size=image.size, dense=dense)
        select = _wide(least) if least else None
        routing = add_experts_(backbone, regions.names, config.lorkd, select=select)
        return RegionalModel(backbone, regions, mean=image.mean, std=image.std, routing=routing)

    def build(self, config: Config, regions: RegionSet, foundation: Foundation | None) -> TrainingModule:
        """Build the student with experts, and the projector from the foundation's features."""
        return LorkdModule(self.network(config, regions), config.train, config.lorkd, foundation)

    def notices(self, config: Config) -> list[str]:
        """Return a notice for each disabled distillation term, and for batch norms that stay shared."""
        shared = () if config.lorkd.norm == "shared" else config.lorkd.shared_norms or ()
        found = switched_off(config.lorkd)
        if shared:
            found.append(
                f"the statistics of {plural(len(shared), 'batch norm')} stay shared ({', '.join(shared[:3])}"
                f"{', ...' if len(shared) > 3 else ''}): by region they would be of fewer than {LEAST_VALUES} values, "
                "unless lorkd.shared_norms is yours; a larger train.batch_size or image.size gives more"
            )
        return found


def _wide(least: int) -> Select:
    """Select layers with at least `least` input channels, where a low-rank update is small compared with the layer."""

    def select(module: nn.Module, name: str) -> bool:
        channels = getattr(module, "in_channels", getattr(module, "in_features", 0))
        return bool(channels >= least)

    return select


METHOD = Lorkd()
