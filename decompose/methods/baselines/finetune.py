"""The foundation fine-tuned on each region: the baseline without a smaller network."""

from __future__ import annotations

import copy

from lorkit.decompose.config import Config
from lorkit.decompose.methods.base import Method, TrainingModule
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.models.foundation.model import Foundation, with_regions
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.regions import RegionSet


class FineTuned(Method):
    """`finetune`: a copy of the foundation per region, with all weights trained."""

    name = "finetune"
    separate = True
    starts_from_foundation = True

    def network(self, config: Config, regions: RegionSet) -> RegionalModel:
        """Build the foundation's network with a head for each region."""
        return shared_network(config, config.foundation.backbone, regions, image=config.foundation_image)

    def build(self, config: Config, regions: RegionSet, foundation: Foundation | None) -> TrainingModule:
        """Build a copy of the foundation with its heads of these regions (its own, or linear probes)."""
        assert foundation is not None, f"{self.name} starts from the foundation"
        return self.adapt(continued(with_regions(foundation, regions).model), config)

    def adapt(self, live: RegionalModel, config: Config) -> TrainingModule:
        """Return what trains a copy of the foundation."""
        return TrainingModule(live, config.train)


def continued(start: RegionalModel) -> RegionalModel:
    """Return a trainable copy of a trained model without experts, to start fine-tuning from its weights."""
    return copy.deepcopy(start).cpu().requires_grad_(True)


METHOD = FineTuned()
