"""DIST: distillation by correlation, one student per region.

    L = CE(s) + b inter(s, t) + g intra(s, t)

`inter` correlates the class probabilities of each sample, `intra` those of each class over the batch; see
`relational.correlation_losses`. t are logits of the foundation's head of the region, its own or a linear probe.
Huang et al., Knowledge Distillation from A Stronger Teacher (NeurIPS 2022); defaults are theirs for ImageNet.
"""

from __future__ import annotations

from torch import Tensor

from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods.distillation.base import DistilledStudents, StudentPass
from lorkit.decompose.methods.distillation.kd import LogitModule
from lorkit.decompose.methods.distillation.logit_terms import correlations
from lorkit.decompose.models.regional import RegionalOutput


class DistModule(LogitModule):
    """The two correlations; every position of a dense network is a sample."""

    section = "dist"
    weights = ("inter", "intra")
    min_samples = 2

    def terms(self, student: StudentPass, teacher: RegionalOutput, batch: Batch) -> dict[str, Tensor]:
        """Return the terms inter and intra."""
        (name,) = self.live.regions.names
        return correlations(self.task_of(name), student.output.logits[name], teacher.logits[name], self.settings)


METHOD = DistilledStudents("dist", DistModule)
