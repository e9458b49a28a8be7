"""Pre-distillation: one student backbone of all regions learns the foundation's features, without any label.

    L = |R(f) - sqrt(G) g / |g||^2 / G

f are the student's features of an image, g the G features of the foundation, R a trained linear map. This is FitNet's
hint (Romero et al. 2015, whose student is trained on hints before its task, as here) on features of one length. Of the
terms that this package has it is the one that

- needs no label: the map of `feature_and_logit` goes the other way, so without its anchor on labels it would converge
  to a constant that any student matches;
- is defined for each sample: CKA compares the samples of one region, of which a batch of all regions has few;
- gives every region the same weight: the squared length of the foundation's features differs between regions by a
  factor of 60, and unscaled the longest would decide.

Features of regions with masks are maps, (n, F, *spatial), whose positions are compared; maps have a map R of their own.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import torch.nn.functional as F
from torch import Tensor, nn

from lorkit.decompose.config import Config, TrainConfig
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods.base import Method, TrainingModule
from lorkit.decompose.methods.distillation.fitnet import Regressor
from lorkit.decompose.methods.student import student_backbone
from lorkit.decompose.models.backbones.outputs import without_idle_decoder
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.regional import RegionalModel, RegionalOutput
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.tasks import dense_outputs
from lorkit.decompose.tasks.losses import Terms, wide


class PredistilledModule(TrainingModule):
    """A student's backbone of all regions and the maps to the foundation's features; its heads stay untrained.

    Args:
        live: The student.
        train: Settings of the loop.
        foundation: The teacher, of the same regions.
    """

    def __init__(self, live: RegionalModel, train: TrainConfig, foundation: Foundation) -> None:
        super().__init__(live, train)
        live.heads.requires_grad_(False)
        self.regressors = nn.ModuleDict()  # by kind of features
        for name in live.regions.names:
            if self._kind(name) not in self.regressors:
                widths = live.feature_width(name), foundation.model.feature_width(name)
                self.regressors[self._kind(name)] = Regressor(*widths)

    def forward(self, batch: Batch, teacher: RegionalOutput) -> Terms:
        """Return the term hint; labels are not read."""
        found = self.live(batch.image, batch.region).features
        terms = {}
        for name, features in found.items():
            x = self.regressors[self._kind(name)](features)
            value_N = F.mse_loss(wide(x), even(teacher.features[name]), reduction="none").flatten(1).mean(1)
            terms[name] = value_N.sum() / len(batch.label)
        return {"hint": terms}

    def idle_parameters(self, present: Collection[str]) -> list[nn.Parameter]:
        """Return also the map of features that no region of the batch has."""
        used = {self._kind(name) for name in present}
        idle = [value for kind, one in self.regressors.items() if kind not in used for value in one.parameters()]
        return [*super().idle_parameters(present), *idle]

    def _kind(self, region: str) -> str:
        return "maps" if self.task_of(region).dense else "pooled"


def even(feature_NG: Tensor) -> Tensor:
    """Scale (N, G, *spatial) to a mean square of 1 over G at each position; zero features stay zero."""
    width: int = feature_NG.shape[1]
    return F.normalize(wide(feature_NG), dim=1) * math.sqrt(width)


def build_predistilled(
    config: Config, train: TrainConfig, regions: RegionSet, foundation: Foundation
) -> PredistilledModule:
    """Build the student of all regions, from published weights if there are any, and its maps."""
    image = config.image
    live = RegionalModel(student_backbone(config, regions), regions, mean=image.mean, std=image.std)
    return PredistilledModule(live, train, foundation)


def start_from(module: TrainingModule, backbone: nn.Module) -> None:
    """Copy the weights and running statistics of a pre-distilled backbone to the student of some of its regions."""
    source = without_idle_decoder(backbone, dense=dense_outputs(module.live.regions))
    module.live.backbone.load_state_dict(source.state_dict(), strict=True)


def check_predistillation(config: Config, method: Method) -> None:
    """Raise UsageError for `student.predistil` where there is nothing to learn, or no student that could start so."""
    if config.student.predistil.epochs is None:
        return
    given, fix = f"student.predistil.epochs with method {method.name}", "leave it out"
    if config.image.nodes or method.of_graphs:
        raise UsageError("student.predistil.epochs for graphs", required="regions of images", fix=fix)
    if not method.uses_teacher:
        required = "a method with a teacher and a student for each region, such as rd, kd or fitnet"
        raise UsageError(f"{given}, which has no teacher", required=required, fix=f"{fix}, or choose such a method")
    if not method.separate:
        required = "a method with a student for each region, such as rd, kd or fitnet"
        raise UsageError(
            f"{given}, whose one network learns from the images of all regions already",
            required=required,
            fix=f"{fix}, or choose such a method",
        )
