"""Linear probes: the frozen foundation, with one linear head per region fitted directly on its features."""

from __future__ import annotations

from collections.abc import Mapping

from lorkit.decompose.config import Config
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.methods.base import TrainingModule
from lorkit.decompose.methods.baselines.finetune import FineTuned, continued
from lorkit.decompose.methods.probes import probe_for
from lorkit.decompose.models.foundation.model import Foundation, with_regions
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.regions import RegionSet


class LinearProbe(FineTuned):
    """`linear-probe`: logistic regression on the frozen foundation's features, its ridge chosen on validation."""

    name = "linear-probe"
    separate = False  # all heads share one backbone

    def build(self, config: Config, regions: RegionSet, foundation: Foundation | None) -> TrainingModule:
        """Build a copy of the foundation with only the heads trainable."""
        assert foundation is not None, "a linear probe needs a foundation"
        live = continued(with_regions(foundation, regions).model)
        live.backbone.requires_grad_(False)
        return TrainingModule(live, config.train)

    def fit(self, live: RegionalModel, train: Mapping[str, PreparedRegion], val: Mapping[str, PreparedRegion]) -> None:
        """Fit the head of each region on the features of its training part."""
        for region in live.regions:
            name = region.name
            head = probe_for(live, region, train[name], val[name])
            live.heads[name] = head.to(next(live.parameters()).device)

    def notices(self, config: Config) -> list[str]:
        """Return which settings have no effect."""
        del config
        return ["linear-probe fits its heads on frozen features: train.epochs, train.lr and augmentation do not apply"]


METHOD = LinearProbe()
