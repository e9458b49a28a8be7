"""Common parts of the distillation baselines: a student of one region with its own loss and terms of a foundation.

    L = CE(student) + terms(student, foundation)

A term is a mean over the batch. Relations between samples are those of a micro-batch: batches have one region, and are
full even if the region has fewer samples (which are then repeated within the batch).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from lorkit.decompose.config import Config
from lorkit.decompose.config.methods import Layer
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods.base import TrainingModule
from lorkit.decompose.methods.baselines.students import TaughtStudents
from lorkit.decompose.models.backbones.stage_adapters import staged
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.foundation.teacher import TeacherFeatures
from lorkit.decompose.models.regional import RegionalModel, RegionalOutput
from lorkit.decompose.models.stage_features import stage_view
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.tasks import get_task
from lorkit.decompose.tasks.losses import Terms


class StudentPass(NamedTuple):
    """Outputs of a student for a batch.

    Attributes:
        output: Features, logits and rows.
        layer: (N, C, *grid) of its last stage, or its pooled features, as the method compares.
    """

    output: RegionalOutput
    layer: Tensor


class DistillationModule(TrainingModule):
    """A student of one region with its own loss and the terms of a subclass.

    Attributes:
        section: Section of the configuration with the settings of the terms.
        weights: Keys of that section that weigh a term.
        min_samples: Samples that a term relates to each other; 1 if it uses samples independently.
        layer: Which output of the two networks is compared.
        widths: Channels of that output, of the student and of the foundation.

    Raises:
        UsageError: A network has no stages, although grids are compared.
    """

    section: str
    weights: tuple[str, ...] = ("weight",)
    min_samples = 1

    def __init__(self, live: RegionalModel, config: Config, foundation: Foundation) -> None:
        super().__init__(live, config.train)
        self.settings: Any = getattr(config, self.section)
        self.layer: Layer = getattr(self.settings, "layer", "pooled")
        ours, theirs = (torch.zeros(1, one.channels, *one.size) for one in (config.image, config.foundation_image))
        (region,) = live.regions
        self.dense = get_task(region.task).dense
        self.widths = self._width(live, ours), self._width(foundation.model, theirs)

    def query_teacher(self, teacher: RegionalModel, batch: Batch) -> Any:
        """Return the foundation's compared output for a batch."""
        if self.layer == "grid":
            outputs = stage_view(teacher.backbone, dense=self.dense).run_stages(
                teacher.normalise(batch.image_for_teacher)
            )
            return TeacherFeatures((outputs.grids[-1],), outputs.features)
        return TeacherFeatures((), teacher.features(batch.image_for_teacher, batch.region))

    def learn(self, student: StudentPass, batch: Batch, teacher: Any) -> Terms:
        """Return the term ce and those of the subclass."""
        (name,) = self.live.regions.names
        taught = {term: {name: value} for term, value in self.terms(student, teacher, batch).items()}
        return {"ce": self.task_loss(student.output, batch), **taught}

    def terms(self, student: StudentPass, teacher: Any, batch: Batch) -> dict[str, Tensor]:
        """Return the terms with a weight above zero, as weighted means over the batch."""
        raise NotImplementedError

    def run_student(self, batch: Batch) -> StudentPass:
        """Return the outputs of the student, with those of its last stage if grids are compared."""
        (name,) = self.live.regions.names
        if self.layer == "pooled":
            output = self.live(batch.image, batch.region)
            return StudentPass(output, output.features[name])
        outputs = staged(self.live.backbone, dense=self.dense).run_stages(self.live.normalise(batch.image))
        return StudentPass(self.live.classify_features({name: outputs.features}, batch.region), outputs.grids[-1])

    def _width(self, model: RegionalModel, example: Tensor) -> int:
        if self.layer == "pooled":
            return model.feature_width(*self.live.regions.names)
        training = model.training
        model.eval()  # in training mode running statistics would change
        try:
            with torch.no_grad():
                stages = stage_view(model.backbone, dense=self.dense)
                outputs = stages.run_stages(model.normalise(example.to(next(model.parameters()))))
        finally:
            model.train(training)
        return outputs.grids[-1].shape[1]


class DistilledStudents(TaughtStudents):
    """One student per region that is distilled from the frozen foundation; only the student is deployed.

    Args:
        name: Name in the configuration.
        module: Class of the training module.
    """

    kind = "distillation"
    module: type[DistillationModule]

    def __init__(self, name: str, module: type[DistillationModule]) -> None:
        self.name, self.module = name, module

    def notices(self, config: Config) -> list[str]:
        """Return notices on disabled terms, and on relations that use fewer samples with micro-batches.

        Raises:
            UsageError: Micro-batches are too small for a relation.
        """
        section, least = self.module.section, self.module.min_samples
        settings = getattr(config, section)
        texts = [f"{section}.{key} is 0: this term is off" for key in self.module.weights if not getattr(settings, key)]
        size, pieces = config.train.batch_size, config.train.accumulate
        if size // pieces < least:
            raise UsageError(
                f"method {self.name} with train.batch_size {size} and train.accumulate {pieces}",
                required=f"{least} samples or more in a micro-batch",
                fix="raise train.batch_size or lower train.accumulate",
            )
        if least > 1 and pieces > 1:
            texts.append(
                f"method {self.name} compares the samples of a micro-batch with each other: train.accumulate {pieces} "
                f"leaves {size // pieces} of {size}, so the training differs from that with 1"
            )
        return texts


class DistilledMaps(DistilledStudents):
    """Students whose terms compare maps, for regions with masks."""

    of_maps = True

    def resolve(self, config: Config, regions: RegionSet, samples: int) -> Config:
        """Return the settings unchanged; raise UsageError for a region without masks."""
        for region in regions:
            if not get_task(region.task).dense:
                raise UsageError(
                    f"method {self.name} for region '{region.name}' of task {region.task}, which has no maps",
                    required="regions with masks",
                    fix="choose kd, sp or another method, or leave the region out",
                )
        return super().resolve(config, regions, samples)
