"""DRD: deep reprogramming distillation, a reprogrammer at every stage of a student.

Shapes: N samples, i = 1..4 stages, C channels of a stage and *grid its positions (2D or 3D), F features.

    r_i = phi_i(t_i), z_i = h(S_4(... S_{i+1}(r_i)))
    L = loss(z_s) + a sum_i loss(z_i) + b sum_i T^2 KL(z_i || z_s) - c sum_i CKA(r_i, s_i)

t_i and s_i are the outputs of the frozen foundation's and the student's stage i, z_s the student's own logits, h its
head; the loss is the task's. a and b decay over the training (`rd.decay`). Other inputs of a hybrid pass from the
student (a transformer's class token, a U-Net's skips) are constants, so that z_i trains no stage up to i; `rd.skips`
selects the skips. Reconstructed from notes on DRD (arXiv 2605.04447), whose text and code are not public; open choices
are settings of `rd`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from lorkit.decompose.config import Config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods.reprogramming.base import ReprogrammedPass, ReprogrammingModule
from lorkit.decompose.methods.reprogramming.batch_norms import InjectedPassNorms
from lorkit.decompose.methods.reprogramming.rd import ReprogrammingDistillation
from lorkit.decompose.methods.reprogramming.widths import hidden_of
from lorkit.decompose.models.backbones.stage_adapters import injection_context, stage_shapes, staged
from lorkit.decompose.models.backbones.stages import StageOutputs
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.foundation.teacher import TeacherFeatures
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.models.reprogrammers import GridReprogrammer
from lorkit.decompose.models.stage_features import stage_shapes_of, stage_view

Shapes = Sequence[tuple[int, ...]]


class DeepReprogramming(ReprogrammingModule):
    """Student, a reprogrammer per stage, and the student's later stages and head, which all hybrid passes share.

    Raises:
        UsageError: Its stages do not match the student's.
    """

    def __init__(self, live: RegionalModel, config: Config, foundation: Foundation) -> None:
        super().__init__(live, config)
        (name,) = live.regions.names
        image, seen = ((one.channels, *one.size) for one in (config.image, config.foundation_image))
        dense = self.task.dense
        self.enter = partial(staged, dense=dense)
        theirs = stage_shapes_of(foundation.model.backbone, seen, dense=dense)
        ours = stage_shapes(live.backbone, image, self.enter)
        check_stages(theirs, ours)
        self.reprogrammers = nn.ModuleList(
            GridReprogrammer(t[0], s[0], s[1:], hidden_of(self.settings, name, s[0]))
            for t, s in zip(theirs, ours, strict=True)
        )
        self.phis, self.grids = list(self.reprogrammers), [shape[1:] for shape in ours]
        self.foreign = InjectedPassNorms(live.backbone, self.settings.bn_policy)

    def query_teacher(self, teacher: RegionalModel, batch: Batch) -> TeacherFeatures:
        """Return the foundation's stages for a batch."""
        outputs = stage_view(teacher.backbone, dense=self.task.dense).run_stages(
            teacher.normalise(batch.image_for_teacher)
        )
        return TeacherFeatures(tuple(outputs.grids), outputs.features)

    def run_student(self, batch: Batch) -> StageOutputs:
        """Return the student's stages."""
        return self.enter(self.live.backbone).run_stages(self.live.normalise(batch.image))

    def reprogram(self, student: StageOutputs, batch: Batch, teacher: TeacherFeatures) -> ReprogrammedPass:
        """Run the student's later stages on each stage's reprogrammed features."""
        (name,) = self.live.regions.names
        network, head, outputs = self.enter(self.live.backbone), self.live.heads[name], student
        injected = [module(grid) for module, grid in zip(self.reprogrammers, teacher.grids, strict=True)]
        with self.foreign.scope():
            hybrid = [
                head(
                    network.forward_from(stage, grid, injection_context(outputs, stage, injected, self.settings.skips))
                )
                for stage, grid in enumerate(injected)
            ]
        return ReprogrammedPass(head(outputs.features), hybrid, injected, outputs.grids)

    def reached(self, batch: Batch) -> list[Tensor]:
        """Return the student's feature maps."""
        return self.run_student(batch).grids


class DeepReprogrammingDistillation(ReprogrammingDistillation):
    """`drd`: `rd` at every stage of the network."""

    name = "drd"
    module = DeepReprogramming


def check_stages(theirs: Shapes, ours: Shapes) -> None:
    """Raise UsageError if the stages (C, *grid) of the foundation differ in number or axes from the student's."""
    if len(theirs) != len(ours):
        raise UsageError(
            f"a foundation of {len(theirs)} stages for a student of {len(ours)}",
            required="equal numbers of stages",
            fix="choose another backbone, or method rd, which needs no stages",
        )
    axes = [{len(shape) - 1 for shape in shapes} for shapes in (theirs, ours)]
    if axes[0] != axes[1]:
        raise UsageError(
            f"stages of {'/'.join(map(str, axes[0]))} axes for a student's of {'/'.join(map(str, axes[1]))}",
            required="a foundation with the number of dimensions of the student",
            fix="choose another foundation",
        )


METHOD = DeepReprogrammingDistillation()
