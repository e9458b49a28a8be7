"""KD: classic knowledge distillation of logits, one student per region.

    L = CE(s) + w T^2 KL(softmax(t / T) || softmax(s / T))

s are the student's logits, t those of the foundation's head of the region: its own, or a linear probe fitted on the
training part. Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network (2015).

`lora-kd` and `finetune-kd` train twice per region, each time with the whole budget of `train`: first `lora` on the
foundation, whose factors are merged, or `finetune` of a copy of it; then `kd` with the result as the foundation.
"""

from __future__ import annotations

from torch import Tensor

from lorkit.decompose.config import Config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods.base import Method, TrainingModule
from lorkit.decompose.methods.baselines.finetune import FineTuned
from lorkit.decompose.methods.baselines.lora import Lora
from lorkit.decompose.methods.distillation.base import DistillationModule, DistilledStudents, StudentPass
from lorkit.decompose.methods.distillation.logit_terms import check_logits, divergence
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.regional import RegionalModel, RegionalOutput


class LogitModule(DistillationModule):
    """A student that is compared with the foundation by logits."""

    def query_teacher(self, teacher: RegionalModel, batch: Batch) -> RegionalOutput:
        """Return the foundation's logits for a batch."""
        output: RegionalOutput = TrainingModule.query_teacher(self, teacher, batch)
        return output


class KdModule(LogitModule):
    """The divergence of softened probabilities."""

    section = "kd"

    def __init__(self, live: RegionalModel, config: Config, foundation: Foundation) -> None:
        super().__init__(live, config, foundation)
        (region,) = live.regions
        check_logits("kd", config.kd, region)
        self.share_by_region("kd", config.kd.kd_by_region)

    def terms(self, student: StudentPass, teacher: RegionalOutput, batch: Batch) -> dict[str, Tensor]:
        """Return the term kd."""
        (name,) = self.live.regions.names
        if not self.settings.weight:
            return {}
        value_N = divergence(self.task_of(name), student.output.logits[name], teacher.logits[name], self.settings)
        found = {name: self.settings.weight * value_N.sum() / len(batch.label)}
        return {"kd": self.weighted(found)[name]}


class AdaptedDistillation(DistilledStudents):
    """One student per region with the loss of `kd`, and the foundation after another method's training as teacher.

    Args:
        name: Name in the configuration.
        adapter: That method.
    """

    def __init__(self, name: str, adapter: Method) -> None:
        super().__init__(name, KdModule)
        self.adapter = adapter

    def notices(self, config: Config) -> list[str]:
        """Return the notices of both methods; raise MissingRuntimeError if peft is not installed."""
        return [*self.adapter.notices(config), *super().notices(config)]


METHODS = (
    DistilledStudents("kd", KdModule),
    AdaptedDistillation("lora-kd", Lora()),
    AdaptedDistillation("finetune-kd", FineTuned()),
)
