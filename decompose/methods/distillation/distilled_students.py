"""One shared student, distilled: what LoRKD is without its experts."""

from __future__ import annotations

from lorkit.decompose.config import Config
from lorkit.decompose.methods.base import TrainingModule
from lorkit.decompose.methods.baselines.students import SharedStudent
from lorkit.decompose.methods.distillation.feature_and_logit import DistillingModule, switched_off
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.regions import RegionSet


class DistilledSharedStudent(SharedStudent):
    """`mtl-kd`: every region on one backbone, with the distillation terms of `lorkd`."""

    name = "mtl-kd"
    uses_teacher = True

    def build(self, config: Config, regions: RegionSet, foundation: Foundation | None) -> TrainingModule:
        """Build the shared student and the projector from the foundation's features."""
        live = self.network(config, regions)
        return DistillingModule(live, config.train, config.lorkd, foundation)

    def notices(self, config: Config) -> list[str]:
        """Announce every distillation term that is switched off."""
        return switched_off(config.lorkd)


class DistilledSeparateStudents(DistilledSharedStudent):
    """`stl-kd`: as many students, projectors and phases as there are regions."""

    name = "stl-kd"
    separate = True


METHODS = (DistilledSharedStudent(), DistilledSeparateStudents())
