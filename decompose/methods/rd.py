"""RD: reprogramming distillation, one student a region beside a reprogrammed foundation and under a shared classifier.

Shapes: N samples, G features of the foundation, F features of the student, C classes.

    L = CE(h(s)) + a CE(h(r)) + b T^2 KL(h(r) || h(s)) - c CKA(r, s),    r = phi(t)

t (N, G) are the frozen foundation's features, s (N, F) the student's, h the head that both share. h(r) can be right
only where r lies where the student's own decision boundary works, which is what makes r a target that a student of any
structure can follow. Reconstructed from the abstract of RD (arXiv 2407.06504) and notes on DRD; no official code is
known.
"""

from __future__ import annotations

from typing import cast

from torch import nn

from lorkit.decompose.cka import CKALoss
from lorkit.decompose.config import Config, RdConfig, TrainConfig
from lorkit.decompose.data.loading import Batch
from lorkit.decompose.errors import UsageError
from lorkit.decompose.losses import Terms, cross_entropy, softened_kl
from lorkit.decompose.methods.base import TrainingModule
from lorkit.decompose.methods.stl import SeparateStudents
from lorkit.decompose.models.backbones import Backbone
from lorkit.decompose.models.foundation import Foundation
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.models.teachers import TeacherFeatures
from lorkit.decompose.regions import RegionSet


class Reprogrammer(nn.Sequential):
    """Three layers that map the foundation's features into the student's feature space.

    The norms make it indifferent to the length of the foundation's features, which differs between foundations by
    orders of magnitude. The last activation gives the range of a student's pooled features, which are not negative.
    """

    def __init__(self, wide: int, narrow: int, hidden: int) -> None:
        super().__init__(
            nn.LayerNorm(wide),
            nn.Linear(wide, hidden),
            nn.LayerNorm(hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.LayerNorm(hidden),
            nn.GELU(),
            nn.Linear(hidden, narrow),
            nn.ReLU(),
        )


class ReprogrammingModule(TrainingModule):
    """Student, reprogrammer and the classifier that they share.

    Args:
        live: The student of one region.
        train: Budget and smoothing.
        settings: Weights of the terms.
        foundation: The teacher.
    """

    def __init__(self, live: RegionalModel, train: TrainConfig, settings: RdConfig, foundation: Foundation) -> None:
        super().__init__(live, train)
        self.settings = settings
        wide, narrow = (cast(Backbone, model.backbone).feature_dim for model in (foundation.model, live))
        self.reprogrammer = Reprogrammer(wide, narrow, settings.hidden or narrow)
        self.cka = CKALoss(estimator=settings.cka.estimator)

    def ask(self, teacher: RegionalModel, batch: Batch) -> TeacherFeatures:
        """Return the foundation's pooled features for a batch."""
        return TeacherFeatures((), teacher.features(batch.seen_by_teacher, batch.region))

    def forward(self, batch: Batch, teacher: TeacherFeatures | None) -> Terms:
        """Return the terms ce, hybrid, kd and cka, those with a weight above zero."""
        if teacher is None:
            raise no_teacher()
        output = self.live(batch.image, batch.region)
        reprogrammed_NF = self.reprogrammer(teacher.features)
        terms: Terms = {"ce": self.task_loss(output, batch), "hybrid": {}, "kd": {}, "cka": {}}
        settings, share = self.settings, len(batch.label)
        fading = faded(settings, self.progress)
        for name, row in output.rows.items():
            r_nF, s_nF = reprogrammed_NF.index_select(0, row), output.features.index_select(0, row)
            logits = self.live.heads[name](r_nF)
            losses = cross_entropy(logits, batch.label.index_select(0, row), self.smoothing)
            terms["hybrid"][name] = fading * settings.hybrid * losses.sum() / share
            target = logits.detach() if settings.kd_detach else logits
            kl = softened_kl(output.logits[name], target, settings.kd.temperature)
            terms["kd"][name] = fading * settings.kd.weight * kl.sum() / share
            if settings.cka.detach:
                r_nF = r_nF.detach()
            terms["cka"][name] = settings.cka.weight * self.cka(s_nF, r_nF) * len(row) / share
        off = {"hybrid": settings.hybrid, "kd": settings.kd.weight, "cka": settings.cka.weight}
        return {name: term for name, term in terms.items() if off.get(name, 1.0) > 0}


class ReprogrammingDistillation(SeparateStudents):
    """`rd`: a student and a reprogrammer a region, trained together; the student alone is deployed."""

    name = "rd"
    uses_teacher = True

    def build(self, config: Config, regions: RegionSet, foundation: Foundation | None) -> TrainingModule:
        """Build the student, and the reprogrammer from the foundation's features."""
        live = self.network(config, regions)
        if foundation is None:
            raise no_teacher()
        return ReprogrammingModule(live, config.train, config.rd, foundation)

    def notices(self, config: Config) -> list[str]:
        """Announce every term that is switched off."""
        weights = {"hybrid": config.rd.hybrid, "kd.weight": config.rd.kd.weight, "cka.weight": config.rd.cka.weight}
        return [f"rd.{name} is 0: this term is off" for name, weight in weights.items() if not weight]


def faded(settings: RdConfig, progress: float) -> float:
    """Return what the hybrid and kd terms are multiplied by after a share of the training."""
    return 1.0 if settings.decay == "constant" else 1.0 - progress * (1.0 - settings.decay_end)


def no_teacher() -> UsageError:
    """Return the error of a method that cannot do without a foundation."""
    return UsageError("reprogramming without a foundation", required="a frozen teacher", fix="set foundation.weights")


METHOD = ReprogrammingDistillation()
