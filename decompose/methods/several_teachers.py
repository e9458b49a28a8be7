"""Several teachers of one student: the losses of its labels once, and a method's own terms for every teacher.

Shapes: R regions of the phase, T teachers, the foundation first.

    L = loss(labels) + sum_t w_t terms_t(student, teacher t)

`terms_t` are those that the method has with teacher t alone, with its own projector or reprogrammer. w_t is the share
of a teacher in a region, see `validation_shares`; the shares of a region sum to 1, so that the weights of a method mean
the same for any number of teachers. The student runs once for all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lorkit.decompose.config import Config, TrainConfig
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods.base import Method, TrainingModule
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.tasks.losses import Terms

LABELS = "ce"
"""The term of the labels, which all teachers share."""


class SeveralTeachers(TrainingModule):
    """A student and, for every teacher, the module that its method has with this teacher alone.

    Args:
        learners: By teacher, modules of the same class and student.
        train: Budget and smoothing.
    """

    share_RT: Tensor

    def __init__(self, learners: Sequence[TrainingModule], train: TrainConfig) -> None:
        live = learners[0].live
        super().__init__(live, train)
        for one in learners:
            del one.live  # a module of this one: state and parameters have it once
            object.__setattr__(one, "live", live)
        self.learners = nn.ModuleList(learners)
        self.advice = learners[0].advice
        shape = (len(live.regions.names), len(learners))
        self.register_buffer("share_RT", torch.full(shape, 1 / len(learners)))

    @property
    def _each(self) -> list[TrainingModule]:
        return [one for one in self.learners if isinstance(one, TrainingModule)]

    def run_student(self, batch: Batch) -> Any:
        """Return the pass of the student that all terms share."""
        return self._each[0].run_student(batch)

    def learn(self, student: Any, batch: Batch, teacher: Any) -> Terms:
        """Return the term of the labels and those of every teacher with its share, named as in `term_of`."""
        found: Terms = {}
        names = self.live.regions.names
        for index, (one, answer) in enumerate(zip(self._each, teacher, strict=True)):
            one.progress = self.progress
            one.pos_weights, one.logit_shifts = self.pos_weights, self.logit_shifts
            for term, row in one.learn(student, batch, answer).items():
                if term != LABELS:
                    share_R = self.share_RT[:, index]
                    row = {name: share_R[names.index(name)] * value for name, value in row.items()}
                    found[term_of(term, index)] = row
                elif index == 0:
                    found[term] = row
        return found

    def query_teachers(self, teachers: Sequence[RegionalModel], batch: Batch) -> list[Any]:
        """Return the outputs of every teacher for its own images."""
        images = [batch.teacher_image, *batch.further_images]
        return [
            one.query_teacher(teacher, batch._replace(teacher_image=image, further_images=()))
            for one, teacher, image in zip(self._each, teachers, images, strict=True)
        ]

    def compare_with_teachers(self, teachers: Sequence[Mapping[str, float]], chance: Mapping[str, float]) -> None:
        """Take the validation scores of every teacher by region, and those of chance, which decide the shares."""
        for row, name in enumerate(self.live.regions.names):
            shares = validation_shares([scores[name] for scores in teachers], chance[name])
            self.share_RT[row] = torch.tensor(shares)
        for one, scores in zip(self._each, teachers, strict=True):
            one.compare_with_teacher(scores, chance)

    def teaching_shares(self) -> dict[str, list[float]]:
        """Return by region the share of each teacher."""
        return dict(zip(self.live.regions.names, self.share_RT.tolist(), strict=True))

    def notices(self) -> list[str]:
        """Return the sentences of the modules of all teachers."""
        first, *others = (one.notices() for one in self._each)
        return first + [f"teacher {index}: {text}" for index, texts in enumerate(others, 2) for text in texts]

    def validated(self, scores: Mapping[str, float]) -> None:
        """Give every teacher's module the validation scores of an epoch."""
        for one in self._each:
            one.validated(scores)

    def check_batches(self, least: int) -> None:
        """Raise UsageError if a term of a teacher is undefined in micro-batches of `least` samples."""
        for one in self._each:
            one.check_batches(least)

    def idle_parameters(self, present: Collection[str]) -> list[nn.Parameter]:
        """Return parameters that a batch of the regions `present` does not reach, each once."""
        idle = {id(value): value for one in self._each for value in one.idle_parameters(present)}
        return list(idle.values())

    def grouped(self, trainable: Sequence[nn.Parameter], train: TrainConfig) -> list[dict[str, Any]]:
        """Return the optimiser groups of the method."""
        return self._each[0].grouped(trainable, train)


def term_of(term: str, index: int) -> str:
    """Return the name of a term: `kd` of the first teacher, `kd 2` of the second."""
    return term if index == 0 else f"{term} {index + 1}"


def validation_shares(scores: Sequence[float], chance: float) -> list[float]:
    """Return the share of each teacher of a region, proportional to max(0, score - chance); they sum to 1.

    They are equal if no teacher is better than chance.
    """
    above = [max(0.0, score - chance) for score in scores]
    whole = sum(above)
    return [value / whole for value in above] if whole > 0 else [1 / len(scores)] * len(scores)


def build_module(method: Method, config: Config, regions: RegionSet, teachers: Sequence[Foundation]) -> TrainingModule:
    """Build the training module of one phase: that of the method, or one for several teachers.

    Args:
        method: The method.
        config: Settings, with a section for every further teacher.
        regions: Of the phase.
        teachers: The foundation and further teachers, or none.

    Raises:
        UsageError: Stages, sizes or layers of a teacher do not match the student's.
    """
    module = method.build(config, regions, teachers[0] if teachers else None)
    if len(teachers) < 2:
        return module
    others = [method.module_of(module.live, config.of_teacher(index), one) for index, one in enumerate(teachers[1:])]
    return SeveralTeachers([module, *others], config.train)
