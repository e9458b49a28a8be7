"""RKD: relational knowledge distillation, one student per region.

    L = CE + d distance(s, t) + a angle(s, t)

s and t are pooled features of the student and the foundation; both terms compare relations between the samples of a
batch, see `relational`. Park et al., Relational Knowledge Distillation (CVPR 2019); weights are theirs for
classification.
"""

from __future__ import annotations

from torch import Tensor

from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods.distillation.base import DistillationModule, DistilledStudents, StudentPass
from lorkit.decompose.methods.losses.relational import angle_loss, distance_loss
from lorkit.decompose.models.foundation.teacher import TeacherFeatures


class RkdModule(DistillationModule):
    """Distances and angles of pooled features; maps of a dense network are averaged over positions first."""

    section = "rkd"
    weights = ("distance", "angle")
    min_samples = 3

    def terms(self, student: StudentPass, teacher: TeacherFeatures, batch: Batch) -> dict[str, Tensor]:
        """Return the terms distance and angle."""
        x, y = (side.flatten(2).mean(2) if side.dim() > 2 else side for side in (student.layer, teacher.features))
        terms = {"distance": (self.settings.distance, distance_loss), "angle": (self.settings.angle, angle_loss)}
        return {term: weight * loss(x, y) for term, (weight, loss) in terms.items() if weight}


METHOD = DistilledStudents("rkd", RkdModule)
