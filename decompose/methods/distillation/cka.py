"""CKA only: alignment of pooled features, one student per region; RD without reprogramming.

    L = CE(s) - w CKA(s, t)

s and t are pooled features of the student and the foundation, of any width: CKA needs no map between them. Kornblith et
al., Similarity of Neural Network Representations Revisited (ICML 2019), as a loss.
"""

from __future__ import annotations

from torch import Tensor

from lorkit.decompose.config import Config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods.distillation.base import DistillationModule, DistilledStudents, StudentPass
from lorkit.decompose.methods.losses.cka.loss import CKALoss
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.foundation.teacher import TeacherFeatures
from lorkit.decompose.models.regional import RegionalModel


class CkaModule(DistillationModule):
    """The similarity of both feature spaces over the batch."""

    section = "cka"
    min_samples = 4

    def __init__(self, live: RegionalModel, config: Config, foundation: Foundation) -> None:
        super().__init__(live, config, foundation)
        self.cka = CKALoss(estimator=self.settings.estimator, gather=True)

    def terms(self, student: StudentPass, teacher: TeacherFeatures, batch: Batch) -> dict[str, Tensor]:
        """Return the term cka."""
        if not self.settings.weight:
            return {}
        return {"cka": self.settings.weight * self.cka(student.layer, teacher.features)}


METHOD = DistilledStudents("cka", CkaModule)
