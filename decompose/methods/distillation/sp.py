"""SP: similarity-preserving distillation, one student per region.

    L = CE + w |G(s) - G(t)|^2 / N^2, G(q) = q q^T with rows of length 1

s and t (N, all values of the last stage) are the features of student and foundation; see `relational.similarity_loss`.
Tung and Mori, Similarity-Preserving Knowledge Distillation (ICCV 2019), whose weight is the default.
"""

from __future__ import annotations

from torch import Tensor

from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods.distillation.base import DistillationModule, DistilledStudents, StudentPass
from lorkit.decompose.methods.losses.relational import similarity_loss
from lorkit.decompose.models.foundation.teacher import TeacherFeatures


class SpModule(DistillationModule):
    """The difference of the two similarity matrices."""

    section = "sp"
    min_samples = 2

    def terms(self, student: StudentPass, teacher: TeacherFeatures, batch: Batch) -> dict[str, Tensor]:
        """Return the term sp."""
        if not self.settings.weight:
            return {}
        target = teacher.grids[-1] if teacher.grids else teacher.features
        return {"sp": self.settings.weight * similarity_loss(student.layer, target)}


METHOD = DistilledStudents("sp", SpModule)
