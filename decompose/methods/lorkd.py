"""LoRKD: one joint training of a shared backbone, low-rank experts and heads, distilled from a frozen foundation.

Shapes: N samples, F features of the student, G features of the foundation, n samples of one region.

    L = CE + w_f T_f^2 KL(softmax(P g / T_f) || softmax(f / T_f)) + w_l T_l^2 KL(teacher logits || student logits) + A

f are the student's pooled features, g the foundation's at a fixed length, P a trainable projector. The released
scripts multiply both distillation terms by zero and never train P; here every term is on, logged by name, and a zero
weight is announced. A anchors P: the student's own heads, held fixed in this term, must classify P g. Without it the
cheapest P is one whose output is the same for every image, which the student could match without learning anything.
"""

from __future__ import annotations

from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn

from lorkit.decompose.config import Config, LorkdConfig, TrainConfig
from lorkit.decompose.data.loading import Batch
from lorkit.decompose.experts import factor_parameters
from lorkit.decompose.losses import Terms, by_region, cross_entropy, softened_kl
from lorkit.decompose.methods.base import TrainingModule
from lorkit.decompose.models.backbones import Backbone
from lorkit.decompose.models.foundation import Foundation
from lorkit.decompose.models.live import build_live
from lorkit.decompose.models.regional import RegionalModel, RegionalOutput
from lorkit.decompose.regions import RegionSet


class Projector(nn.Linear):
    """A linear map of the foundation's feature directions into the student's feature space.

    The length of a feature vector is set to a constant first. Measured on foundations trained here, the squared length
    differs between regions by a factor of 60, and one map under one learning rate diverges on the longest.
    """

    length = 8.0

    def forward(self, feature_NG: Tensor) -> Tensor:
        """Map (N, G) to (N, F)."""
        return super().forward(self.length * F.normalize(feature_NG, dim=1))


class LorkdModule(TrainingModule):
    """Experts, backbone, heads and projector under the LoRKD loss."""

    def __init__(
        self, live: RegionalModel, train: TrainConfig, settings: LorkdConfig, foundation: Foundation | None
    ) -> None:
        super().__init__(live, train)
        self.settings = settings
        self.projector: Projector | None = None
        if foundation is not None and settings.feature_kd.weight > 0:
            wide, narrow = (cast(Backbone, model.backbone).feature_dim for model in (foundation.model, live))
            self.projector = Projector(wide, narrow)
        # a probe is this project's own fit on frozen features: nothing that the foundation knew
        heads = foundation.heads.items() if foundation is not None else ()
        self.taught = frozenset(name for name, kind in heads if kind == "own")

    def forward(self, batch: Batch, teacher: RegionalOutput | None) -> Terms:
        """Return the terms ce, feature_kd, projector and logit_kd, those with a weight above zero."""
        output = self.live(batch.image, batch.region)
        terms: Terms = {"ce": self.task_loss(output, batch)}
        if teacher is None:
            return terms
        if self.projector is not None:
            projected_NF = self.projector(teacher.features)
            settings = self.settings.feature_kd
            value_N = settings.weight * softened_kl(output.features, projected_NF, settings.temperature)
            terms["feature_kd"] = by_region(value_N, output.rows)
            terms["projector"] = self._anchor(projected_NF, output, batch)
        if self.settings.logit_kd.weight > 0 and self.taught.intersection(output.rows):
            terms["logit_kd"] = self._logit_kd(output, teacher, len(batch.label))
        return terms

    def parameter_groups(self, train: TrainConfig) -> list[dict[str, Any]]:
        """Return the groups of the base class with the factors in one of their own, by default without decay.

        Decay would pull the experts of regions that a batch does not hold; see DESIGN section 6.
        """
        factors = factor_parameters(self.live)
        ids = {id(parameter) for parameter in factors}
        groups = super().parameter_groups(train)
        for group in groups:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in ids]
        return [*groups, {"params": factors, "weight_decay": self.settings.factor_weight_decay}]

    def _anchor(self, projected_NF: Tensor, output: RegionalOutput, batch: Batch) -> dict[str, Tensor]:
        terms = {}
        for name, row in output.rows.items():
            head = self.live.heads[name]
            assert isinstance(head, nn.Linear)
            logits = F.linear(projected_NF.index_select(0, row), head.weight.detach(), head.bias.detach())
            terms[name] = cross_entropy(logits, batch.label.index_select(0, row)).sum() / len(batch.label)
        return terms

    def _logit_kd(self, output: RegionalOutput, teacher: RegionalOutput, samples: int) -> dict[str, Tensor]:
        settings = self.settings.logit_kd
        return {
            name: settings.weight
            * softened_kl(output.logits[name], teacher.logits[name], settings.temperature).sum()
            / samples
            for name in output.rows
            if name in self.taught
        }


class Lorkd:
    """`lorkd`: low-rank knowledge decomposition."""

    name = "lorkd"
    uses_teacher = True

    def phases(self, regions: RegionSet) -> list[RegionSet]:
        """Return one phase: T regions, one training."""
        return [regions]

    def build(self, config: Config, regions: RegionSet, foundation: Foundation | None) -> TrainingModule:
        """Build the student with experts, and the projector from the foundation's features."""
        return LorkdModule(cast(RegionalModel, build_live(config, regions)), config.train, config.lorkd, foundation)

    def notices(self, config: Config) -> list[str]:
        """Announce every distillation term that is switched off."""
        weights = {"feature_kd": config.lorkd.feature_kd.weight, "logit_kd": config.lorkd.logit_kd.weight}
        return [
            f"lorkd.{name}.weight is 0: this distillation term is off"
            for name, weight in weights.items()
            if weight == 0
        ]


METHOD = Lorkd()
