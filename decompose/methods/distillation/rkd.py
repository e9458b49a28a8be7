"""RKD: relational knowledge distillation, one student per region.

    L = CE + d distance(s, t) + a angle(s, t)

s and t are pooled features of the student and the foundation; both terms compare how the samples of a batch lie to
each other, see `relational`. Park et al., Relational Knowledge Distillation (CVPR 2019); weights are theirs for
classification.
"""

from __future__ import annotations

from torch import Tensor

from lorkit.decompose.config import Config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods.distillation.base import (
    DistillationModule,
    DistilledStudents,
    StudentPass,
)
from lorkit.decompose.methods.losses.relational import angle_loss, distance_loss
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.foundation.teacher import TeacherFeatures
from lorkit.decompose.models.regional import RegionalModel


class RkdModule(DistillationModule):
    """Distances and angles of pooled features; maps of a dense network are averaged over their places first."""

    def __init__(self, live: RegionalModel, config: Config, foundation: Foundation) -> None:
        super().__init__(live, config, foundation)
        self.settings = config.rkd

    def terms(self, student: StudentPass, teacher: TeacherFeatures, batch: Batch) -> dict[str, Tensor]:
        """Return the terms distance and angle."""
        del batch
        x, y = (side.flatten(2).mean(2) if side.dim() > 2 else side for side in (student.layer, teacher.features))
        terms = {"distance": (self.settings.distance, distance_loss), "angle": (self.settings.angle, angle_loss)}
        return {term: weight * loss(x, y) for term, (weight, loss) in terms.items() if weight}


class RelationalDistillation(DistilledStudents):
    """`rkd`: one student per region whose features have the mutual distances of the foundation's."""

    name = "rkd"
    module = RkdModule
    min_samples = 3

    def weights(self, config: Config) -> dict[str, float]:
        """Return the weights of both terms."""
        return {"rkd.distance": config.rkd.distance, "rkd.angle": config.rkd.angle}


METHOD = RelationalDistillation()
