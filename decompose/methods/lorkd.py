"""LoRKD: one joint training of a shared backbone, low-rank experts and heads, distilled from a frozen foundation.

The loss is that of `distillation`; what LoRKD adds to a distilled shared student are the experts.
"""

from __future__ import annotations

from typing import Any, cast

from lorkit.decompose.config import Config, TrainConfig
from lorkit.decompose.experts import factor_parameters
from lorkit.decompose.methods.base import TrainingModule
from lorkit.decompose.methods.distillation import DistillingModule, switched_off
from lorkit.decompose.models.foundation import Foundation
from lorkit.decompose.models.live import build_live
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.regions import RegionSet


class LorkdModule(DistillingModule):
    """Experts, backbone, heads and projector under the distillation loss."""

    def parameter_groups(self, train: TrainConfig) -> list[dict[str, Any]]:
        """Return the groups of the base class with the factors in one of their own: own rate, by default no decay.

        Decay would pull the experts of regions that a batch does not hold; see DESIGN section 6.
        """
        factors = factor_parameters(self.live)
        ids = {id(parameter) for parameter in factors}
        groups = super().parameter_groups(train)
        for group in groups:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in ids]
        own = {"weight_decay": self.settings.factor_weight_decay, "lr_ratio": self.settings.factor_lr_ratio}
        return [*groups, {"params": factors, **own}]


class Lorkd:
    """`lorkd`: low-rank knowledge decomposition."""

    name = "lorkd"
    uses_teacher = True

    def phases(self, regions: RegionSet) -> list[RegionSet]:
        """Return one phase: T regions, one training."""
        return [regions]

    def build(self, config: Config, regions: RegionSet, foundation: Foundation | None) -> TrainingModule:
        """Build the student with experts, and the projector from the foundation's features."""
        return LorkdModule(cast(RegionalModel, build_live(config, regions)), config.train, config.lorkd, foundation)

    def notices(self, config: Config) -> list[str]:
        """Announce every distillation term that is switched off."""
        return switched_off(config.lorkd)


METHOD = Lorkd()
