"""RD: reprogramming distillation. One student per region shares a classifier with a reprogrammed foundation.

Shapes: N samples, G features of the foundation, F features of the student, C outputs; features and outputs of dense
tasks are maps, (N, F, *spatial).

    L = loss(h(s)) + a loss(h(r)) + b T^2 KL(h(r) || h(s)) - c CKA(r, s), r = phi(t)

t (N, G) are the frozen foundation's features, s (N, F) the student's, h the shared head; the loss is the task's. h(r)
is correct only if r fits the decision boundaries of the student, which makes r a target for a student of any structure.
Reconstructed from the abstract of RD (arXiv 2407.06504) and notes on DRD; no official code is known.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from lorkit.decompose.config import Config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods.baselines.students import TaughtStudents
from lorkit.decompose.methods.reprogramming.base import ReprogrammedPass, ReprogrammingModule
from lorkit.decompose.methods.reprogramming.widths import hidden_of, with_widths
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.foundation.teacher import TeacherFeatures
from lorkit.decompose.models.regional import RegionalModel, RegionalOutput
from lorkit.decompose.models.reprogrammers import GridReprogrammer, PooledReprogrammer


class FeatureReprogramming(ReprogrammingModule):
    """Student, reprogrammer and the classifier that they share."""

    def __init__(self, live: RegionalModel, config: Config, foundation: Foundation) -> None:
        super().__init__(live, config)
        (name,) = live.regions.names
        wide, narrow = (model.feature_width(name) for model in (foundation.model, live))
        hidden = hidden_of(self.settings, name, narrow)
        self.reprogrammer: nn.Module
        if self.task.dense:
            self.grids = [config.image.size]
            self.reprogrammer = GridReprogrammer(wide, narrow, config.image.size, hidden)
        else:
            self.grids = [()]
            rectified = getattr(live.backbone, "rectified", False)
            self.reprogrammer = PooledReprogrammer(wide, narrow, hidden, rectified=rectified)
        self.phis = [self.reprogrammer]

    def query_teacher(self, teacher: RegionalModel, batch: Batch) -> TeacherFeatures:
        """Return the foundation's features for a batch: pooled, or maps for a dense task."""
        return TeacherFeatures((), teacher.features(batch.image_for_teacher, batch.region))

    def reprogram(self, student: RegionalOutput, batch: Batch, teacher: TeacherFeatures) -> ReprogrammedPass:
        """Run the student's head on the reprogrammed features."""
        (name,) = self.live.regions.names
        reprogrammed = self.reprogrammer(teacher.features)
        return ReprogrammedPass(
            student.logits[name], [self.live.heads[name](reprogrammed)], [reprogrammed], [student.features[name]]
        )

    def reached(self, batch: Batch) -> list[Tensor]:
        """Return the student's features: its whole body is before the head."""
        return list(self.live(batch.image, batch.region).features.values())


class ReprogrammingDistillation(TaughtStudents):
    """`rd`: a student and a reprogrammer per region, trained together; only the student is deployed."""

    name = "rd"
    kind = "reprogramming"
    module: type[ReprogrammingModule] = FeatureReprogramming

    def fit_to_counts(self, config: Config, counts: Mapping[str, int]) -> Config:
        """Return the settings with the width of each region's reprogrammers."""
        return config.model_copy(update={"rd": with_widths(config.rd, counts)})

    def notices(self, config: Config) -> list[str]:
        """Return a notice for each disabled term."""
        weights = {"hybrid": config.rd.hybrid, "kd.weight": config.rd.kd.weight, "cka.weight": config.rd.cka.weight}
        return [f"rd.{name} is 0: this term is off" for name, weight in weights.items() if not weight]


METHOD = ReprogrammingDistillation()
