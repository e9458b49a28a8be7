"""CWD: channel-wise distillation of the logits of masks, one student per region.

    L = Dice + CE(s) + w T^2 mean over channels of KL(softmax(t / T) || softmax(s / T)), softmax over places

s and t are logits of student and foundation; see `maps.channel_loss`. The foundation's are those of its head of the
region, its own or a linear probe. Shu et al., Channel-Wise Knowledge Distillation for Dense Prediction (ICCV 2021),
whose weight and temperature for logits are the defaults.
"""

from __future__ import annotations

from torch import Tensor

from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods.distillation.base import DistilledMaps, StudentPass
from lorkit.decompose.methods.distillation.kd import LogitModule
from lorkit.decompose.methods.losses.maps import channel_loss
from lorkit.decompose.models.regional import RegionalOutput


class CwdModule(LogitModule):
    """The divergence of the places of each channel."""

    section = "cwd"

    def terms(self, student: StudentPass, teacher: RegionalOutput, batch: Batch) -> dict[str, Tensor]:
        """Return the term cwd."""
        (name,) = self.live.regions.names
        if not self.settings.weight:
            return {}
        value_N = channel_loss(student.output.logits[name], teacher.logits[name], self.settings.temperature)
        return {"cwd": self.settings.weight * value_N.sum() / len(batch.label)}


METHOD = DistilledMaps("cwd", CwdModule)
