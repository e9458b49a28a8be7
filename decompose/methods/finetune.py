"""Fine-tuning: one network a region, all of whose weights start from given ones and are trained."""

from __future__ import annotations

from lorkit.decompose.config import Config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods.base import TrainingModule
from lorkit.decompose.methods.mtl import shared_network
from lorkit.decompose.methods.stl import SeparateStudents
from lorkit.decompose.models.foundation import Foundation
from lorkit.decompose.regions import RegionSet


class FineTuned(SeparateStudents):
    """`finetune`: `stl` that starts from the foundation's weights instead of fresh ones."""

    name = "finetune"

    def build(self, config: Config, regions: RegionSet, foundation: Foundation | None) -> TrainingModule:
        """Build the student as a copy of the foundation: its backbone, and its head (own or probe) of each region.

        Raises:
            UsageError: There is no foundation, or student and foundation are of different backbones.
        """
        given = foundation.backbone if foundation is not None else "none"
        if foundation is None or given != config.student.backbone:
            raise UsageError(
                f"method finetune with foundation {given} and student {config.student.backbone}",
                required="the same backbone for both, since one starts from the weights of the other",
                fix=f"--set student.backbone={config.foundation.backbone}",
            )
        network = shared_network(config, config.student.backbone, regions)
        network.backbone.load_state_dict(foundation.model.backbone.state_dict())
        for name in regions.names:
            network.heads[name].load_state_dict(foundation.model.heads[name].state_dict())
        return TrainingModule(network, config.train)


METHOD = FineTuned()
