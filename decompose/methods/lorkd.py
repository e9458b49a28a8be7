"""LoRKD: one joint training of a shared backbone, low-rank experts and heads, distilled from a frozen foundation.

The loss is that of `distillation`; LoRKD adds the experts to a distilled shared student.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from lorkit.decompose.config import Config, TrainConfig
from lorkit.decompose.methods.base import Method, TrainingModule
from lorkit.decompose.methods.distillation.feature_and_logit import DistillingModule, switched_off
from lorkit.decompose.methods.expert_student import (
    check_decoder,
    notice_of_shared_norms,
    shared_norms,
    student_with_experts,
    with_own_group,
)
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.regions import RegionSet


class LorkdModule(DistillingModule):
    """Experts, backbone, heads and projector with the distillation loss."""

    def grouped(self, trainable: Sequence[nn.Parameter], train: TrainConfig) -> list[dict[str, Any]]:
        """Return the groups of the base class with a separate one for the factors."""
        return with_own_group(super().grouped(trainable, train), self.live, self.settings)


class Lorkd(Method):
    """`lorkd`: low-rank knowledge decomposition."""

    name = "lorkd"
    uses_teacher = True

    def resolve(self, config: Config, regions: RegionSet, samples: int) -> Config:
        """Keep batch norms shared whose statistics by region would be of too few values, unless the user named some."""
        check_decoder(config, regions, "lorkd")
        shared = shared_norms(config, regions, config.lorkd, samples)
        return config.model_copy(update={"lorkd": config.lorkd.model_copy(update={"shared_norms": shared})})

    def network(self, config: Config, regions: RegionSet) -> RegionalModel:
        """Build the student with an expert and a head for each region; raise UsageError if it cannot have experts."""
        return student_with_experts(config, regions, config.lorkd)

    def module_of(self, live: RegionalModel, config: Config, foundation: Foundation | None) -> TrainingModule:
        """Build the projector from the foundation's features beside a student with experts."""
        return LorkdModule(live, config.train, config.lorkd, foundation)

    def notices(self, config: Config) -> list[str]:
        """Return a notice for each disabled distillation term, and for batch norms that stay shared."""
        return [*switched_off(config.lorkd), *notice_of_shared_norms("lorkd", config.lorkd)]


METHOD = Lorkd()
