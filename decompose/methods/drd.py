"""DRD: deep reprogramming distillation, a reprogrammer at every stage of a student.

Shapes: N samples, i = 1..4 stages, C channels and H W grid of a stage, F features.

    r_i = phi_i(t_i),  z_i = h(S_4(... S_{i+1}(r_i)))
    L = CE(z_s) + a sum_i CE(z_i) + b sum_i T^2 KL(z_i || z_s) - c sum_i CKA(r_i, s_i)

t_i and s_i are the outputs of the frozen foundation's and the student's stage i, z_s the student's own logits, h its
head. a and b fade over the training (`rd.decay`). Reconstructed from notes on DRD (arXiv 2605.04447), whose text and
code are not public; what they leave open are settings of `rd`.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lorkit.decompose.cka import CKALoss
from lorkit.decompose.config import Config, RdConfig, TrainConfig
from lorkit.decompose.data.loading import Batch
from lorkit.decompose.losses import Terms, cross_entropy, softened_kl
from lorkit.decompose.methods.base import TrainingModule
from lorkit.decompose.methods.rd import ReprogrammingDistillation, faded, no_teacher
from lorkit.decompose.models.bn_policy import ForeignPasses
from lorkit.decompose.models.foundation import Foundation
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.models.staged import STAGES, staged
from lorkit.decompose.models.teachers import TeacherFeatures
from lorkit.decompose.models.walking import Walker, walker
from lorkit.decompose.regions import RegionSet


class _Sizes(NamedTuple):
    """Channels and grid of each stage."""

    channels: list[int]
    grids: list[tuple[int, ...]]


class StageReprogrammer(nn.Module):
    """Three convolutions (1, 3, 1) from a stage of the foundation to the channels and grid of a student's stage.

    Group norms, so that nothing depends on the batch and the length of the foundation's features does not matter.
    """

    def __init__(self, wide: int, narrow: int, grid: tuple[int, ...]) -> None:
        super().__init__()
        self.grid = grid
        # without weights: the next layer has them, and torch (2.13, CPU) crashes in the backward pass of the weights of
        # channels-last inputs that need no gradient, as a frozen network's are
        even = nn.GroupNorm(1, wide, affine=False)
        reduce, mix = nn.Conv2d(wide, narrow, 1), nn.Conv2d(narrow, narrow, 3, padding=1)
        self.enter = nn.Sequential(even, reduce, nn.GroupNorm(1, narrow), nn.GELU())
        self.mix = nn.Sequential(mix, nn.GroupNorm(1, narrow), nn.GELU())
        self.leave = nn.Conv2d(narrow, narrow, 1)

    def forward(self, t_NCHW: Tensor) -> Tensor:
        """Map (N, wide, H, W) to (N, narrow, *grid)."""
        x = self.enter(t_NCHW)
        if x.shape[2:] != self.grid:
            finer = any(have < want for have, want in zip(x.shape[2:], self.grid, strict=True))
            x = (
                F.interpolate(x, self.grid, mode="bilinear")
                if finer
                else F.adaptive_avg_pool2d(x, (self.grid[0], self.grid[1]))
            )
        return cast(Tensor, self.leave(self.mix(x)))


class DeepReprogrammingModule(TrainingModule):
    """Student, a reprogrammer a stage, and the student's later stages and head, which all hybrid passes share.

    Args:
        live: The student of one region.
        train: Budget and smoothing.
        settings: Weights of the terms.
        foundation: The teacher.
        image: (C, H, W) of the images.
        seen: The same of what the teacher sees.
    """

    def __init__(
        self,
        live: RegionalModel,
        train: TrainConfig,
        settings: RdConfig,
        foundation: Foundation,
        image: tuple[int, ...],
        seen: tuple[int, ...],
    ) -> None:
        super().__init__(live, train)
        self.settings = settings
        theirs = _sizes(foundation.model, walker(foundation.model.backbone), seen)
        ours = _sizes(live, staged(live.backbone), image)
        pairs = zip(theirs.channels, ours.channels, ours.grids, strict=True)
        self.reprogrammers = nn.ModuleList(StageReprogrammer(*pair) for pair in pairs)
        self.foreign = ForeignPasses(live.backbone, settings.bn_policy)
        self.cka = CKALoss(estimator=settings.cka.estimator)

    def ask(self, teacher: RegionalModel, batch: Batch) -> TeacherFeatures:
        """Return the foundation's stages for a batch."""
        walk = walker(teacher.backbone).walk(teacher.normalise(batch.seen_by_teacher))
        return TeacherFeatures(tuple(walk.grids), walk.features)

    def forward(self, batch: Batch, teacher: TeacherFeatures | None) -> Terms:
        """Return the terms ce, hybrid, kd and cka, those with a weight above zero."""
        if teacher is None:
            raise no_teacher()
        (name,) = self.live.regions.names
        network, head = staged(self.live.backbone), self.live.heads[name]
        walk = network.walk(self.live.normalise(batch.image))
        z_s = head(walk.features)
        injected = [module(grid) for module, grid in zip(self.reprogrammers, teacher.grids, strict=True)]
        with self.foreign.scope():
            hybrid = [
                head(network.forward_from(stage, grid, context))
                for stage, (grid, context) in enumerate(zip(injected, walk.context, strict=True))
            ]
        settings, size = self.settings, len(batch.label)
        stages = STAGES if settings.stages == "mean" else 1
        fading = faded(settings, self.progress) / stages
        parts = [cross_entropy(z_i, batch.label, self.smoothing).sum() for z_i in hybrid]
        targets = [z_i.detach() if settings.kd_detach else z_i for z_i in hybrid]
        divergences = [softened_kl(z_s, z_i, settings.kd.temperature).sum() for z_i in targets]
        aligned = [
            self.cka(s_i.mean((2, 3)), (r_i.detach() if settings.cka.detach else r_i).mean((2, 3)))
            for s_i, r_i in zip(walk.grids, injected, strict=True)
        ]
        terms = {
            "ce": cross_entropy(z_s, batch.label, self.smoothing).sum() / size,
            "hybrid": fading * settings.hybrid * torch.stack(parts).sum() / size,
            "kd": fading * settings.kd.weight * torch.stack(divergences).sum() / size,
            "cka": settings.cka.weight * torch.stack(aligned).sum() / stages,
        }
        off = {"hybrid": settings.hybrid, "kd": settings.kd.weight, "cka": settings.cka.weight}
        return {term: {name: value} for term, value in terms.items() if off.get(term, 1.0) > 0}


class DeepReprogrammingDistillation(ReprogrammingDistillation):
    """`drd`: `rd` at every stage of the network."""

    name = "drd"

    def build(self, config: Config, regions: RegionSet, foundation: Foundation | None) -> TrainingModule:
        """Build the student and a reprogrammer a stage.

        Raises:
            UsageError: No foundation, or one of the networks has no stages.
        """
        live = self.network(config, regions)
        if foundation is None:
            raise no_teacher()
        image, seen = ((one.channels, *one.size) for one in (config.image, config.foundation_image))
        return DeepReprogrammingModule(live, config.train, config.rd, foundation, image, seen)


def _sizes(model: RegionalModel, network: Walker, image: tuple[int, ...]) -> _Sizes:
    """Walk a network once, in eval, and read off what its stages give."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            example = next(model.parameters()).new_zeros(1, *image)
            walk = network.walk(model.normalise(example))
    finally:
        model.train(training)
    return _Sizes([grid.shape[1] for grid in walk.grids], [tuple(grid.shape[2:]) for grid in walk.grids])


METHOD = DeepReprogrammingDistillation()
