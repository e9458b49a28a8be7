"""Distillation from a frozen foundation: the loss that `lorkd`, `mtl-kd` and `stl-kd` share, term by term.

Shapes: N samples, F features of the student, G features of the foundation, n samples of one region. Features and logits
of regions with masks are maps, (n, F, *spatial); pixels are projected and compared, and averaged per sample. Pooled
features and maps have a projector each.

    L = CE + w_f T_f^2 KL(softmax(P g / T_f) || softmax(f / T_f)) + w_l T_l^2 KL(teacher logits || student logits) + A

f are the student's pooled features, g the foundation's scaled to a fixed length, P a trainable projector. LoRKD's
released scripts multiply both distillation terms by zero and never train P; here every term is on and logged by name.
The term A is the classification loss of P g under the student's heads, which are constant in it. Without it P would
converge to a constant output, which the student could match without learning.

Weights and temperatures are `lorkd.feature_kd` and `lorkd.logit_kd` for all three methods, so that comparisons use the
same ones.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from lorkit.decompose.config import Config, LorkdConfig, TrainConfig
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods.base import TrainingModule
from lorkit.decompose.methods.baselines.students import SharedStudent
from lorkit.decompose.methods.distillation.logit_terms import check_logits, correlations, divergence
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.regional import RegionalModel, RegionalOutput
from lorkit.decompose.tasks.losses import Terms, softened_kl


class Projector(nn.Linear):
    """A linear map from the directions of the foundation's features to the student's feature space.

    Feature vectors are first scaled to a constant length. On foundations trained here, their squared length differs
    between regions by a factor of 60, and one map with one learning rate diverges on the longest.
    """

    length = 8.0

    def forward(self, feature_NG: Tensor) -> Tensor:
        """Map (N, G, *spatial) to (N, F, *spatial)."""
        return super().forward(self.length * F.normalize(feature_NG, dim=1).movedim(1, -1)).movedim(-1, 1)


class DistillingModule(TrainingModule):
    """A student, with or without experts, and the projector of the foundation's features.

    Args:
        live: The student.
        train: Budget and smoothing.
        settings: Weight and temperature of the two terms.
        foundation: The teacher; None leaves only the cross-entropy.
    """

    def __init__(
        self, live: RegionalModel, train: TrainConfig, settings: LorkdConfig, foundation: Foundation | None
    ) -> None:
        super().__init__(live, train)
        self.settings = settings
        self.projectors = nn.ModuleDict()  # by kind of features
        if foundation is not None and settings.feature_kd.weight > 0:
            for name in live.regions.names:
                wide, narrow = (model.feature_width(name) for model in (foundation.model, live))
                if self._kind(name) not in self.projectors:
                    self.projectors[self._kind(name)] = Projector(wide, narrow)
        # a probe was fitted here and is not knowledge of the foundation, unless it is asked for
        heads = foundation.heads.items() if foundation is not None else ()
        self.taught = frozenset(name for name, kind in heads if kind == "own" or settings.probe_logits)
        self._untaught = [name for name in live.regions.names if foundation is not None and name not in self.taught]
        self.share_by_region("lorkd", settings.kd_by_region)
        for region in live.regions:
            check_logits("lorkd.logit_kd", settings.logit_kd, region)

    def notices(self) -> list[str]:
        """Return a sentence on regions without a head of the foundation."""
        if not self._untaught or not self.settings.logit_kd.weight:
            return []
        names = ", ".join(self._untaught)
        return [
            f"lorkd.logit_kd has nothing to teach {names} with and is off there: the foundation has no head of its own "
            "for them, only linear probes that were fitted on these training images"
        ]

    def learn(self, student: RegionalOutput, batch: Batch, teacher: RegionalOutput | None) -> Terms:
        """Return those of the terms ce, feature_kd, projector and logit_kd with a weight above zero."""
        output = student
        terms: Terms = {"ce": self.task_loss(output, batch)}
        if teacher is None:
            return terms
        if self.projectors:
            projected = {
                name: self.projectors[self._kind(name)](features) for name, features in teacher.features.items()
            }
            terms["feature_kd"] = self.weighted(self._feature_kd(output, projected, len(batch.label)))
            terms["projector"] = self._anchor(projected, output, batch)
        if self.settings.logit_kd.weight > 0 and self.taught.intersection(output.rows):
            terms["logit_kd"] = self.weighted(self._logit_kd(output, teacher, len(batch.label)))
        for term, found in self._correlations(output, teacher, len(batch.label)).items():
            terms[term] = self.weighted(found)
        return terms

    def idle_parameters(self, present: Collection[str]) -> list[nn.Parameter]:
        """Return also the projector of features that no region of the batch has."""
        used = {self._kind(name) for name in present}
        idle = [value for kind, one in self.projectors.items() if kind not in used for value in one.parameters()]
        return [*super().idle_parameters(present), *idle]

    def _kind(self, region: str) -> str:
        return "maps" if self.task_of(region).dense else "pooled"

    def _feature_kd(self, output: RegionalOutput, projected: Mapping[str, Tensor], samples: int) -> dict[str, Tensor]:
        settings, terms = self.settings.feature_kd, {}
        for name, features in output.features.items():
            value = softened_kl(features, projected[name], settings.temperature)
            terms[name] = settings.weight * value.reshape(len(value), -1).mean(1).sum() / samples
        return terms

    def _anchor(self, projected: Mapping[str, Tensor], output: RegionalOutput, batch: Batch) -> dict[str, Tensor]:
        terms = {}
        for name, row in output.rows.items():
            head = self.live.heads[name]
            fixed = {key: value.detach() for key, value in head.named_parameters()}
            logits = functional_call(head, fixed, projected[name])
            loss = self.sample_losses(name, logits, batch, row)
            terms[name] = loss.sum() / len(batch.label)
        return terms

    def _logit_kd(self, output: RegionalOutput, teacher: RegionalOutput, samples: int) -> dict[str, Tensor]:
        settings = self.settings.logit_kd
        return {
            name: settings.weight
            * divergence(self.task_of(name), output.logits[name], teacher.logits[name], settings).sum()
            / samples
            for name in output.rows
            if name in self.taught
        }

    def _correlations(self, output: RegionalOutput, teacher: RegionalOutput, samples: int) -> Terms:
        """Return the terms inter and intra of DIST with a weight above zero, by region."""
        found: Terms = {}
        for name in output.rows:
            if name in self.taught:
                share = len(output.logits[name]) / samples
                terms = correlations(self.task_of(name), output.logits[name], teacher.logits[name], self.settings.dist)
                for term, value in terms.items():
                    found.setdefault(term, {})[name] = share * value
        return found


def switched_off(settings: LorkdConfig) -> list[str]:
    """Return a sentence for each distillation term whose weight is zero."""
    weights = {"feature_kd": settings.feature_kd.weight, "logit_kd": settings.logit_kd.weight}
    return [
        f"lorkd.{name}.weight is 0: this distillation term is off" for name, weight in weights.items() if not weight
    ]


class DistilledSharedStudent(SharedStudent):
    """`mtl-kd`: every region on one backbone, with the distillation terms of `lorkd`."""

    name = "mtl-kd"
    uses_teacher = True

    def module_of(self, live: RegionalModel, config: Config, foundation: Foundation | None) -> TrainingModule:
        """Build the projector from the foundation's features beside the student."""
        return DistillingModule(live, config.train, config.lorkd, foundation)

    def notices(self, config: Config) -> list[str]:
        """Return a notice for each disabled distillation term."""
        return switched_off(config.lorkd)


class DistilledSeparateStudents(DistilledSharedStudent):
    """`stl-kd`: one student, projector and phase per region."""

    name = "stl-kd"
    separate = True


METHODS = (DistilledSharedStudent(), DistilledSeparateStudents())
