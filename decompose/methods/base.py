"""The interface of a method of decomposition; one file per method in this package.

A file defines `METHOD`, an instance of a subclass of `Method`; `methods/__init__.py` lists it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from lorkit.decompose.config import Config, TrainConfig
from lorkit.decompose.config.training import Balancer
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.events import GateFigures
from lorkit.decompose.experts.insertion import factor_parameters
from lorkit.decompose.methods.teaching_shares import TeachingShares
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.ownership import owner_of
from lorkit.decompose.models.region_features import idle_parameters
from lorkit.decompose.models.regional import RegionalModel, RegionalOutput
from lorkit.decompose.models.reprogrammers import resampled
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.tasks import Task, get_task
from lorkit.decompose.tasks.losses import Terms, wide


class TrainingModule(nn.Module):
    """The live network with all that only training needs; its forward returns loss terms, for DDP.

    Every term is a sum over samples divided by the batch size, as gradient accumulation requires.

    Attributes:
        live: The trained network, from which experts are extracted.
        progress: Fraction of the phase's steps that are finished, for decaying weights; set by the training loop.
        advice: What to do about a teacher that is weaker than its student, to end a sentence; empty for nothing.
        pos_weights: By multilabel region, the factors of the loss of positive labels; set before training.
        logit_shifts: By region, (C,) numbers that the loss adds to the logits; set before training.
    """

    live: RegionalModel
    progress: float = 0.0
    advice: str = ""

    def __init__(self, live: RegionalModel, train: TrainConfig) -> None:
        super().__init__()
        self.live = live
        self.smoothing = train.label_smoothing
        self.pos_weights: dict[str, Tensor] = {}
        self.shares: TeachingShares | None = None
        self.logit_shifts: dict[str, Tensor] = {}
        self.balancer = train.balancer

    def forward(self, batch: Batch, teacher: Any) -> Terms:
        """Return {term: {region: scalar}}; the sum of all is the loss."""
        return self.learn(self.run_student(batch), batch, teacher)

    def run_student(self, batch: Batch) -> Any:
        """Return the pass of the student from which `learn` takes its terms."""
        return self.live(batch.image, batch.region)

    def learn(self, student: Any, batch: Batch, teacher: Any) -> Terms:
        """Return the terms of a pass: `ce`, the losses of the tasks, and those of a teacher."""
        return {"ce": self.task_loss(student, batch)}

    def query_teacher(self, teacher: RegionalModel, batch: Batch) -> Any:
        """Return the outputs of the frozen foundation that `forward` needs; called without gradients."""
        output: RegionalOutput = teacher(batch.image_for_teacher, batch.region)
        places = tuple(batch.image.shape[2:])
        if all(value.dim() == 2 or tuple(value.shape[2:]) == places for value in output.features.values()):
            return output
        # maps of the teacher's image size are resized to the student's grid; logits are computed
        # from the resized maps, as from cached features
        features = {
            name: value if value.dim() == 2 else resampled(value, places) for name, value in output.features.items()
        }
        return teacher.classify_features(features, batch.region)

    def query_teachers(self, teachers: Sequence[RegionalModel], batch: Batch) -> Any:
        """Return the outputs of all teachers that `forward` needs; called without gradients."""
        return self.query_teacher(teachers[0], batch)

    def task_of(self, region: str) -> Task:
        """Return the task of a region."""
        return get_task(self.live.regions.get(region).task)

    def task_loss(self, output: RegionalOutput, batch: Batch) -> dict[str, Any]:
        """Return the loss of each region's task at its head."""
        terms = {}
        for name, row in output.rows.items():
            values = self.sample_losses(name, output.logits[name], batch, row, self.smoothing)
            terms[name] = values.sum() / len(batch.label)
        return terms

    def sample_losses(
        self, region: str, logits: Tensor, batch: Batch, row: Tensor | None = None, smoothing: float = 0.0
    ) -> Tensor:
        """Return the loss of the task of each of a region's samples, (n,): 0 without a label.

        Args:
            region: Its name.
            logits: (n, K, *spatial) of these samples.
            batch: The batch, with the labels and weights of all its samples.
            row: (n,) their positions in the batch; None if it has only them.
            smoothing: Label smoothing.
        """
        label, weight = batch.label, batch.weight
        if row is not None:
            label, weight = label.index_select(0, row), None if weight is None else weight.index_select(0, row)
        task, shift_C = self.task_of(region), self.logit_shifts.get(region)
        if shift_C is not None:
            logits = wide(logits) + shift_C
        target, pos_weight = task.own_targets(label, logits), self.pos_weights.get(region)
        if weight is None:
            return task.loss(logits, target, smoothing, pos_weight)
        known = weight > 0
        values = logits.new_zeros(len(logits), dtype=torch.promote_types(logits.dtype, torch.float32))
        if known.any():  # without a label there is no loss, and its value may not even be defined
            values[known] = task.loss(logits[known], target[known], smoothing, pos_weight) * weight[known]
        return values

    def notices(self) -> list[str]:
        """Return sentences on terms that have nothing to teach with."""
        return []

    def compare_with_teacher(self, teacher: Mapping[str, float], chance: Mapping[str, float]) -> None:
        """Take the validation scores of the frozen foundation by region, and those of chance; before training."""
        if self.shares is not None:
            self.shares.compare(teacher, chance)

    def compare_with_teachers(self, teachers: Sequence[Mapping[str, float]], chance: Mapping[str, float]) -> None:
        """Take the validation scores of all teachers by region, and those of chance; before training."""
        self.compare_with_teacher(teachers[0] if teachers else {}, chance)

    def share_by_region(self, section: str, setting: str) -> None:
        """Weigh the terms of weak teachers less if `kd_by_region` of a section is `auto`, else advise it."""
        if setting == "auto":
            self.shares = TeachingShares(self.live.regions.names)
        else:
            self.advice = f"; {section}.kd_by_region: auto weighs such a teacher less"

    def weighted(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a distillation term of each region with its share."""
        return terms if self.shares is None else self.shares(terms)

    def gate_figures(self, val: Mapping[str, PreparedRegion]) -> GateFigures | None:
        """Return the gates on validation images for the row of an epoch; None for a network without a router."""
        del val
        return None

    def validated(self, scores: Mapping[str, float]) -> None:
        """Take the validation scores by region, after each epoch."""
        if self.shares is not None:
            self.shares.update(scores)

    def check_batches(self, least: int) -> None:
        """Raise UsageError if a term is undefined in the smallest micro-batch, of `least` samples."""

    def idle_parameters(self, present: Collection[str]) -> list[nn.Parameter]:
        """Return parameters that a batch of the regions `present` does not reach, besides those of absent regions."""
        return idle_parameters(self.live.backbone, self.live.regions, present)

    def finished(self) -> RegionalModel:
        """Return the trained network as it is saved and deployed, on the CPU."""
        return self.live.cpu()

    def parameter_groups(self, train: TrainConfig) -> list[dict[str, Any]]:
        """Return optimiser groups: weight decay on matrices and kernels, none on norms and biases."""
        return self.grouped([parameter for parameter in self.parameters() if parameter.requires_grad], train)

    def grouped(self, trainable: Sequence[nn.Parameter], train: TrainConfig) -> list[dict[str, Any]]:
        """Return the optimiser groups of trainable parameters."""
        return [
            {"params": [p for p in trainable if p.dim() > 1], "weight_decay": train.weight_decay},
            {"params": [p for p in trainable if p.dim() <= 1], "weight_decay": 0.0},
        ]

    def backbone_parameters(self) -> dict[str, nn.Parameter]:
        """Return the trainable parameters of the backbone without factors of experts, by their names in it.

        These are fine-tuned if the network starts from trained weights: layers and norms, those of regions too.
        """
        backbone = self.live.backbone
        factors = {id(value) for value in factor_parameters(backbone)}
        return {
            name: value
            for name, value in backbone.named_parameters()
            if value.requires_grad and id(value) not in factors
        }

    def region_parameters(self) -> dict[str, list[nn.Parameter]]:
        """Return the trainable parameters of single regions, by region: factors, norms and heads."""
        owned: dict[str, list[nn.Parameter]] = {name: [] for name in self.live.regions.names}
        for name, parameter in self.named_parameters():
            region = owner_of(name, owned)
            if parameter.requires_grad and region is not None:
                owned[region].append(parameter)
        return owned


class Method(ABC):
    """A method to decompose a foundation model into deployable networks of regions.

    Attributes:
        name: Name in the configuration.
        uses_teacher: Whether its losses need the foundation's outputs.
        separate: Whether each region has an independent network and its own training.
        starts_from_foundation: Whether its networks are the adapted foundation, else the student.
        finds_region: Whether its network finds the region of an image.
        routed: Whether a router answers images of an unknown region.
        without_foundation: Whether its runs have no foundation, because its network could be one itself.
        of_graphs: Whether it is for regions that are graphs.
        of_maps: Whether it is for regions with masks only.
    """

    name: str
    uses_teacher: bool = False
    separate: bool = False
    starts_from_foundation: bool = False
    finds_region: bool = False
    routed: bool = False
    without_foundation: bool = False
    of_graphs: bool = False
    of_maps: bool = False

    def phases(self, regions: RegionSet) -> list[RegionSet]:
        """Return the sets of regions that are trained together, one after another."""
        return [RegionSet([region]) for region in regions] if self.separate else [regions]

    def deployed_backbone(self, config: Config) -> str:
        """Return the name of the backbone that is deployed, for `build_backbone`."""
        return config.foundation.backbone if self.starts_from_foundation else config.student.network

    @abstractmethod
    def network(self, config: Config, regions: RegionSet) -> RegionalModel:
        """Build the network of one phase's regions with fresh weights, as it is saved and deployed."""

    def build(self, config: Config, regions: RegionSet, foundation: Foundation | None) -> TrainingModule:
        """Build the training module of one phase; raise UsageError without a foundation that its losses need."""
        return self.module_of(self.network(config, regions), config, foundation)

    def module_of(self, live: RegionalModel, config: Config, foundation: Foundation | None) -> TrainingModule:
        """Build the training module of a network that `network` built."""
        raise NotImplementedError

    def resolve(self, config: Config, regions: RegionSet, samples: int) -> Config:
        """Return the settings with choices that depend on the training data, as they are stored with the run.

        Args:
            config: Settings.
            regions: All regions.
            samples: Fewest samples of a region in a micro-batch that has any.
        """
        del regions, samples
        return config

    def fit_to_counts(self, config: Config, counts: Mapping[str, int]) -> Config:
        """Return the settings with choices that depend on `counts`, training samples by region, labelled or not."""
        del counts
        return config

    def notices(self, config: Config) -> list[str]:
        """Return notices for the user before training; raise an error for settings that cannot run."""
        del config
        return []


@runtime_checkable
class SetsBalancer(Protocol):
    """A method that sets its own gradient balancer instead of `train.balancer`."""

    balancer: Balancer


@runtime_checkable
class HasAdapter(Protocol):
    """A method whose teacher is trained first: another method adapts the foundation to the regions of each phase."""

    adapter: Method


@runtime_checkable
class FitsInOneGo(Protocol):
    """A method that fits its networks directly, without epochs of the training loop."""

    def fit(self, live: RegionalModel, train: Mapping[str, PreparedRegion], val: Mapping[str, PreparedRegion]) -> None:
        """Fit a built network to prepared parts, in place."""
        ...


def needs_foundation(method: Method) -> bool:
    """Return whether a method needs a foundation."""
    return method.uses_teacher or method.starts_from_foundation
