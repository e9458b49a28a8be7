"""Common parts of `rd` and `drd`: their loss terms from one pass of student and reprogrammed features.

Shapes: N samples, K outputs, C channels of a stage, *grid its positions (none for pooled features).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lorkit.decompose.config import Config, RdConfig, TrainConfig
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.errors import UsageError, plural
from lorkit.decompose.methods.base import TrainingModule
from lorkit.decompose.methods.distillation.logit_terms import check_logits, correlations, divergence
from lorkit.decompose.methods.losses.cka.loss import CKALoss
from lorkit.decompose.methods.losses.cka.products import MIN_SAMPLES
from lorkit.decompose.models.foundation.teacher import TeacherFeatures
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.tasks import get_task
from lorkit.decompose.tasks.losses import Terms


class ReprogrammedPass(NamedTuple):
    """One pass through student and reprogrammers, before any loss.

    Attributes:
        logits: (N, K, *spatial) of the student.
        hybrid: The same of each stage's reprogrammed features through the student's later stages and head.
        reprogrammed: (N, C, *grid) of each stage, phi_i(t_i).
        own: (N, C, *grid) of each stage of the student.
    """

    logits: Tensor
    hybrid: list[Tensor]
    reprogrammed: list[Tensor]
    own: list[Tensor]


class ReprogrammingModule(TrainingModule):
    """A student of one region and the reprogrammed features of the foundation.

    Args:
        live: The student.
        config: Settings.
        foundation: The teacher, for which subclasses build their reprogrammers.
    """

    phis: Sequence[nn.Module]
    grids: Sequence[tuple[int, ...]]

    def __init__(self, live: RegionalModel, config: Config) -> None:
        super().__init__(live, config.train)
        self.settings = settings = config.rd
        (region,) = live.regions
        self.task = get_task(region.task)
        view = settings.cka.view
        self.share_by_region("rd", settings.kd_by_region)
        check_logits("rd.kd", settings.kd, region)
        self.cka = CKALoss(
            estimator=settings.cka.estimator,
            view=("token" if self.task.dense else "gap") if view == "auto" else view,
            gather=True,  # the alignment needs the samples of all ranks
        )

    def run_passes(self, batch: Batch, teacher: TeacherFeatures) -> ReprogrammedPass:
        """Run the student and every hybrid pass."""
        return self.reprogram(self.run_student(batch), batch, teacher)

    def reprogram(self, student: Any, batch: Batch, teacher: TeacherFeatures) -> ReprogrammedPass:
        """Run every hybrid pass beside the student's own; subclasses implement it."""
        raise NotImplementedError

    def reached(self, batch: Batch) -> list[Tensor]:
        """Return the student's features of each stage, which depend only on the stages up to it."""
        raise NotImplementedError

    def learn(self, student: Any, batch: Batch, teacher: TeacherFeatures) -> Terms:
        """Return those of the terms ce, hybrid, kd, cka, inter and intra with a weight above zero."""
        (name,) = self.live.regions.names
        settings, size = self.settings, len(batch.label)
        passes = self.reprogram(student, batch, teacher)
        stages = len(passes.hybrid) if settings.stages == "mean" else 1
        decay = decayed(settings, self.progress) / stages
        targets = [z_i.detach() if settings.kd_detach else z_i for z_i in passes.hybrid]
        losses = [self.loss(z_i, batch).sum() for z_i in passes.hybrid]
        divergences = [divergence(self.task, passes.logits, z_i, settings.kd).sum() for z_i in targets]
        terms = {
            "ce": self.loss(passes.logits, batch).sum() / size,
            "hybrid": decay * settings.hybrid * torch.stack(losses).sum() / size,
            "kd": decay * settings.kd.weight * torch.stack(divergences).sum() / size,
        }
        if settings.cka.weight:
            terms["cka"] = settings.cka.weight * torch.stack(self.aligned(passes)).sum() / stages
        for z_i in targets:
            for term, value in correlations(self.task, passes.logits, z_i, settings.dist).items():
                terms[term] = terms.get(term, 0.0) + decay * value
        for term in ("kd", "cka", "inter", "intra"):  # what pulls the student to the teacher
            if term in terms:
                terms[term] = self.weighted({name: terms[term]})[name]
        off = {"hybrid": settings.hybrid, "kd": settings.kd.weight}
        return {term: {name: value} for term, value in terms.items() if off.get(term, 1.0) > 0}

    def parameter_groups(self, train: TrainConfig) -> list[dict[str, Any]]:
        """Return optimiser groups; reprogrammers have the weight decay of `rd`, if it states one."""
        if self.settings.weight_decay is None:
            return super().parameter_groups(train)
        trainable = [parameter for parameter in self.parameters() if parameter.requires_grad]
        own = {id(parameter) for phi in self.phis for parameter in phi.parameters()}
        others = self.grouped([one for one in trainable if id(one) not in own], train)
        decayed_more = train.model_copy(update={"weight_decay": self.settings.weight_decay})
        return others + self.grouped([one for one in trainable if id(one) in own], decayed_more)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the task's loss of each sample, (N,)."""
        (name,) = self.live.regions.names
        return self.sample_losses(name, logits, batch, smoothing=self.smoothing)

    def aligned(self, passes: ReprogrammedPass) -> list[Tensor]:
        """Return the alignment loss of each stage."""
        detach = self.settings.cka.detach
        pairs = zip(passes.own, passes.reprogrammed, strict=True)
        return [self.cka(own, other.detach() if detach else other) for own, other in pairs]

    def check_batches(self, least: int) -> None:
        """Raise UsageError if the alignment of a stage is undefined in micro-batches of `least` samples."""
        if not self.settings.cka.weight:
            return
        needed = max(MIN_SAMPLES[self.cka.estimator], 3)  # two centred samples always have similarity 1
        if self.cka.view in ("token", "patch-image") and not all(self.grids):
            raise UsageError(
                f"rd.cka.view {self.cka.view} for pooled features",
                required="gap or flatten for features without positions",
                fix="set rd.cka.view to auto, or use method drd, whose stages have positions",
            )
        for stage, grid in enumerate(self.grids, start=1):
            places = prod(grid)
            samples = {"token": least * places, "patch-image": places}.get(self.cka.view, least)
            if samples < needed:
                which = f" of stage {stage}" if len(self.grids) > 1 else ""
                raise UsageError(
                    f"{plural(samples, 'sample')} for the {self.cka.estimator} CKA{which}, view {self.cka.view}, "
                    f"in a batch of {least}",
                    required=f"{needed} or more in every batch and micro-batch",
                    fix="raise train.batch_size, lower train.accumulate, or choose another rd.cka.view or estimator",
                )


def decayed(settings: RdConfig, progress: float) -> float:
    """Return the factor of the hybrid and kd terms after a fraction of the training."""
    return 1.0 if settings.decay == "constant" else 1.0 - progress * (1.0 - settings.decay_end)
