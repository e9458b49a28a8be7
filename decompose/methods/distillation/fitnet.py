"""FitNet: regression of the foundation's hints, one student per region.

    L = CE + w |R(s) - t|^2 / numbers

s and t are the last stage's grids of the student and the foundation (or their pooled features), R a trained 1x1
convolution to the foundation's channels. Where grids differ, the finer is averaged down to the coarser, axis by axis.
Romero et al., FitNets: Hints for Thin Deep Nets (ICLR 2015). The paper trains the hint before the task; here both are
trained jointly, as in later comparisons, so that all baselines have one budget.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lorkit.decompose.config import Config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods.distillation.base import DistillationModule, DistilledStudents, StudentPass
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.foundation.teacher import TeacherFeatures
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.models.reprogrammers import resampled
from lorkit.decompose.tasks.losses import wide


class Regressor(nn.Linear):
    """A 1x1 convolution over any number of axes, including none: a linear map of the channels of each position."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, *grid) to (N, G, *grid)."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class FitnetModule(DistillationModule):
    """A student and the regressor of its hints."""

    section = "fitnet"

    def __init__(self, live: RegionalModel, config: Config, foundation: Foundation) -> None:
        super().__init__(live, config, foundation)
        self.regressor = Regressor(*self.widths)

    def terms(self, student: StudentPass, teacher: TeacherFeatures, batch: Batch) -> dict[str, Tensor]:
        """Return the term hint."""
        if not self.settings.weight:
            return {}
        x, y = one_grid(student.layer, teacher.grids[-1] if teacher.grids else teacher.features)
        value_N = F.mse_loss(wide(self.regressor(x)), wide(y), reduction="none").flatten(1).mean(1)
        return {"hint": self.settings.weight * value_N.sum() / len(batch.label)}


def one_grid(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Average both (N, C, *grid) to the coarser grid, axis by axis; features without a grid are unchanged."""
    grid = tuple(min(pair) for pair in zip(x.shape[2:], y.shape[2:], strict=True))
    return resampled(x, grid), resampled(y, grid)


METHOD = DistilledStudents("fitnet", FitnetModule)
