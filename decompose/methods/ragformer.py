"""RAGFormer: one network of all graphs with a head for each, trained on labels alone, without a foundation.

The network is `models.backbones.graphs.ragformer` unless `student.backbone` names another one. It can be the foundation
of further runs (`foundation.weights`), from which `rd` makes a small student and `lorkd` experts by region.
"""

from __future__ import annotations

from lorkit.decompose.config import Config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods.baselines.students import SharedStudent
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.regions import RegionSet


class RagformerMethod(SharedStudent):
    """`ragformer`: cross-entropy of every graph on one network."""

    name = "ragformer"
    without_foundation = True

    def network(self, config: Config, regions: RegionSet) -> RegionalModel:
        """Build the network with a head for each graph; raise UsageError for regions of images."""
        if not config.image.nodes:
            raise UsageError(
                f"method {self.name} for images",
                required="regions that are graphs",
                fix="choose another method, such as lorkd, or name a graph as data",
            )
        return super().network(config, regions)


METHOD = RagformerMethod()
