"""SP: similarity-preserving distillation, one student per region.

    L = CE + w |G(s) - G(t)|^2 / N^2,    G(q) = q q^T with rows of length 1

s and t (N, all numbers of the last stage) are what student and foundation make of the batch; see
`relational.similarity_loss`. Tung and Mori, Similarity-Preserving Knowledge Distillation (ICCV 2019), whose weight is
the default.
"""

from __future__ import annotations

from torch import Tensor

from lorkit.decompose.config import Config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods.distillation.base import (
    DistillationModule,
    DistilledStudents,
    StudentPass,
    compared_widths,
)
from lorkit.decompose.methods.losses.relational import similarity_loss
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.foundation.teacher import TeacherFeatures
from lorkit.decompose.models.regional import RegionalModel


class SpModule(DistillationModule):
    """The difference of the two similarity matrices."""

    def __init__(self, live: RegionalModel, config: Config, foundation: Foundation) -> None:
        super().__init__(live, config, foundation)
        self.settings = config.sp
        self.layer = self.settings.layer
        compared_widths(live, foundation, self.layer, config)  # refuses here what has no stages

    def terms(self, student: StudentPass, teacher: TeacherFeatures, batch: Batch) -> dict[str, Tensor]:
        """Return the term sp."""
        del batch
        if not self.settings.weight:
            return {}
        target = teacher.grids[-1] if teacher.grids else teacher.features
        return {"sp": self.settings.weight * similarity_loss(student.layer, target)}


class SimilarityDistillation(DistilledStudents):
    """`sp`: one student per region whose features have the sample similarities of the foundation's."""

    name = "sp"
    module = SpModule
    min_samples = 2

    def weights(self, config: Config) -> dict[str, float]:
        """Return the weight of the only term."""
        return {"sp.weight": config.sp.weight}


METHOD = SimilarityDistillation()
