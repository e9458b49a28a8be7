"""MMoE: several encoders that all regions share, and a gate and a head for each region.

The architecture of LibMTL's `MMoE` (Ma et al., KDD 2018): every encoder is a whole student, and a region's gate is a
softmax of one linear map of the normalised image. The deployed network of a region needs all encoders.
"""

from __future__ import annotations

from lorkit.decompose.config import Config
from lorkit.decompose.methods.base import Method, TrainingModule
from lorkit.decompose.methods.student import student_backbone
from lorkit.decompose.models.backbones.gated_encoders import Encoders, gated_name
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.mmoe import MmoeModel
from lorkit.decompose.regions import RegionSet


class Mmoe(Method):
    """`mmoe`: the cross-entropy of every region on shared encoders that its gate mixes."""

    name = "mmoe"

    def deployed_backbone(self, config: Config) -> str:
        """Return the name of the student's encoders with a gate."""
        return gated_name(config.student.network, config.mmoe.experts)

    def network(self, config: Config, regions: RegionSet) -> MmoeModel:
        """Build the encoders with a gate and a head for each region."""
        image = config.image
        encoders = Encoders([student_backbone(config, regions) for _ in range(config.mmoe.experts)])
        shape = (image.channels, *image.size)
        return MmoeModel(encoders, regions, shape, mean=image.mean, std=image.std)

    def build(self, config: Config, regions: RegionSet, foundation: Foundation | None) -> TrainingModule:
        """Build the encoders; the foundation is only the baseline of the gate."""
        del foundation
        return TrainingModule(self.network(config, regions), config.train)


METHOD = Mmoe()
