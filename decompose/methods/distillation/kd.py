"""KD: classic knowledge distillation of logits, one student per region.

    L = CE(s) + w T^2 KL(softmax(t / T) || softmax(s / T))

s are the student's logits, t those of the foundation's head of the region: its own, or a linear probe fitted on the
training part. Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network (2015).

`lora-kd` trains twice per region, each time with the whole budget of `train`: `lora` on the foundation, whose factors
are merged, then `kd` with the merged network as the foundation.
"""

from __future__ import annotations

from torch import Tensor

from lorkit.decompose.config import Config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods.base import TrainingModule
from lorkit.decompose.methods.baselines.lora import Lora
from lorkit.decompose.methods.distillation.base import DistillationModule, DistilledStudents, StudentPass
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

    def terms(self, student: StudentPass, teacher: RegionalOutput, batch: Batch) -> dict[str, Tensor]:
        """Return the term kd."""
        (name,) = self.live.regions.names
        if not self.settings.weight:
            return {}
        pair = student.output.logits[name], teacher.logits[name]
        value_N = self.task_of(name).divergence(*pair, self.settings.temperature)
        return {"kd": self.settings.weight * value_N.sum() / len(batch.label)}


class AdaptedDistillation(DistilledStudents):
    """`lora-kd`: one student per region with the loss of `kd` and the foundation after `lora` as teacher."""

    adapter = Lora()

    def notices(self, config: Config) -> list[str]:
        """Return the notices of both methods; raise MissingRuntimeError if peft is not installed."""
        return [*self.adapter.notices(config), *super().notices(config)]


METHODS = (DistilledStudents("kd", KdModule), AdaptedDistillation("lora-kd", KdModule))
