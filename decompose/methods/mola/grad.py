"""MoLA-Grad: backbone, one low-rank adapter per region and heads are trained together, without a teacher.

The region of each sample picks its adapter, so an adapter gets gradients from its own region only, and the backbone
from all (MoLA, ICML 2024, section on target-aware adapters). One pass serves a mixed batch: the expert layers are those
of LoRKD.
"""

from __future__ import annotations

from typing import Any

from lorkit.decompose.config import Config, MolaConfig, TrainConfig
from lorkit.decompose.config.methods import TrainedExpertsConfig
from lorkit.decompose.methods.base import Method, TrainingModule
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

_OF_ROUTER = ("adapters", "router", "gates", "temperature", "top_k", "twd", "region_weight", "heads")
"""Settings of `mola` that only a router has."""


class AdaptedModule(TrainingModule):
    """A student with low-rank adapters and the loss of the tasks; the factors have their own optimiser group."""

    def __init__(self, live: RegionalModel, train: TrainConfig, settings: TrainedExpertsConfig) -> None:
        super().__init__(live, train)
        self.settings = settings

    def parameter_groups(self, train: TrainConfig) -> list[dict[str, Any]]:
        """Return the groups of the base class with a separate one for the factors."""
        return with_own_group(super().parameter_groups(train), self.live, self.settings)


class MolaGrad(Method):
    """`mola-grad`: one adapter per region, picked by the known region."""

    name = "mola-grad"

    def resolve(self, config: Config, regions: RegionSet, samples: int) -> Config:
        """Keep batch norms shared whose statistics by region would be of too few values, unless the user named some."""
        check_decoder(config, regions, "mola")
        shared = shared_norms(config, regions, config.mola, samples)
        return config.model_copy(update={"mola": config.mola.model_copy(update={"shared_norms": shared})})

    def network(self, config: Config, regions: RegionSet) -> RegionalModel:
        """Build the student with an adapter and a head for each region; raise UsageError if it cannot have any."""
        return student_with_experts(config, regions, config.mola)

    def build(self, config: Config, regions: RegionSet, foundation: Foundation | None) -> TrainingModule:
        """Build the student with adapters; the foundation is only the baseline of the gate."""
        del foundation
        return AdaptedModule(self.network(config, regions), config.train, config.mola)

    def notices(self, config: Config) -> list[str]:
        """Return a notice for batch norms that stay shared, and for settings of a router."""
        own = MolaConfig()
        stated = [name for name in _OF_ROUTER if getattr(config.mola, name) != getattr(own, name)]
        unused = [f"{', '.join(f'mola.{name}' for name in stated)}: no effect on method {self.name}"]
        return [*(unused if stated else []), *notice_of_shared_norms("mola", config.mola)]


METHOD = MolaGrad()
