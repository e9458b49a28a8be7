"""SKD: structured distillation of masks, one student per region.

    L = Dice + CE(s) + a T^2 mean of KL(softmax(t / T) || softmax(s / T)) over places
        + b mean of (c(f) - c(g))^2 over pairs of nodes

s and t are logits of student and foundation, f and g the maps that their heads read, and c the cosine of two nodes; see
`maps.pair_loss`. The foundation's logits are those of its head of the region, its own or a linear probe. Liu et al.,
Structured Knowledge Distillation for Semantic Segmentation (CVPR 2019); the defaults are theirs. Their third term, an
adversarial network that judges masks, is left out.
"""

from __future__ import annotations

from torch import Tensor

from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods.distillation.base import DistilledMaps, StudentPass
from lorkit.decompose.methods.distillation.kd import LogitModule
from lorkit.decompose.methods.losses.maps import pair_loss
from lorkit.decompose.models.regional import RegionalOutput


class SkdModule(LogitModule):
    """The divergence at each place, and the similarities of places."""

    section = "skd"
    weights = ("pixel", "pair")

    def terms(self, student: StudentPass, teacher: RegionalOutput, batch: Batch) -> dict[str, Tensor]:
        """Return those of the terms pixel and pair with a weight above zero."""
        (name,) = self.live.regions.names
        settings, found = self.settings, {}
        if settings.pixel:
            logits = student.output.logits[name], teacher.logits[name]
            value_N = self.task_of(name).divergence(*logits, settings.temperature)
            found["pixel"] = settings.pixel * value_N.sum() / len(batch.label)
        if settings.pair:
            value_N = pair_loss(student.output.features[name], teacher.features[name], settings.nodes)
            found["pair"] = settings.pair * value_N.sum() / len(batch.label)
        return found


METHOD = DistilledMaps("skd", SkdModule)
