"""The foundation itself, fine-tuned on each region alone: what one gets without making anything smaller."""

from __future__ import annotations

import copy

from lorkit.decompose.config import Config
from lorkit.decompose.methods.base import Method, TrainingModule
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.models.foundation.model import Foundation, with_regions
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.regions import RegionSet


class FineTuned(Method):
    """`finetune`: a copy of the foundation a region, every weight of it trained with the full batch."""

    name = "finetune"
    separate = True
    starts_from_foundation = True

    def network(self, config: Config, regions: RegionSet) -> RegionalModel:
        """Build the foundation's network with a head for each region."""
        return shared_network(config, config.foundation.backbone, regions, image=config.foundation_image)

    def build(self, config: Config, regions: RegionSet, foundation: Foundation | None) -> TrainingModule:
        """Build a copy of the foundation with its heads of these regions (own, or the probe)."""
        assert foundation is not None, "finetune starts from the foundation"
        return TrainingModule(continued(with_regions(foundation, regions).model), config.train)


def continued(start: RegionalModel) -> RegionalModel:
    """Return a copy of a trained model that can be trained further: its weights are where fine-tuning starts.

    Args:
        start: The foundation, or any other model without experts; it is not touched.
    """
    return copy.deepcopy(start).cpu().requires_grad_(True)


METHOD = FineTuned()
