"""The phase before all others of a method with `student.predistil`: one backbone, from which every student starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from lorkit.decompose.config import Config, TrainConfig
from lorkit.decompose.events import Finished, Listener
from lorkit.decompose.methods.distillation.predistillation import build_predistilled
from lorkit.decompose.models.cost import count_parameters, later_training_macs
from lorkit.decompose.models.foundation.model import Foundation, with_regions
from lorkit.decompose.training.foundation.pretraining import run_phase, set_random_state
from lorkit.decompose.training.loop.phase import Phase
from lorkit.decompose.training.training_data import TrainingData

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PREDISTIL = "predistil"
"""Name of the phase."""


@dataclass(frozen=True, kw_only=True)
class Predistilled:
    """The backbone from which students start, the result of its phase, and its cost in training."""

    backbone: nn.Module
    end: Finished
    parameters: int
    macs: Callable[[], int]


def predistillation_settings(config: Config) -> TrainConfig | None:
    """Return the settings of the phase: those of the students without what is for labels or for trained weights.

    None if students start from fresh or published weights.
    """
    stated = config.student.predistil
    if stated.epochs is None:
        return None
    update: dict[str, Any] = {"epochs": stated.epochs, "lr": stated.lr or config.train.lr}
    update |= {"min_steps": None, "patience": None, "label_smoothing": 0.0}
    update |= {"balancer": "sum", "log_conflict": 0, "logit_adjustment": None, "layer_decay": None, "freeze_epochs": 0}
    return config.train.model_copy(update=update)


def predistil(
    config: Config,
    data: TrainingData,
    foundation: Foundation | None,
    directory: Path,
    fabric: Fabric,
    on_event: Listener,
) -> Predistilled | None:
    """Train a student backbone on the training images of all regions, from its newest checkpoint if there is one.

    Validation images are not used: the weights are those of the last epoch.

    Args:
        config: Settings of the run; the seed decides initial weights, order and augmentation.
        data: Regions with their training parts and their images without labels.
        foundation: The teacher, with a head for every region; None for a method without one.
        directory: Directory of the checkpoints of the phases.
        fabric: A launched Fabric.
        on_event: Receives progress.

    Returns:
        None without `student.predistil.epochs`.
    """
    settings = predistillation_settings(config)
    if settings is None or foundation is None:
        return None
    known, own = with_regions(foundation, data.regions), config.model_copy(update={"train": settings})
    set_random_state(config.seed, None)
    module = build_predistilled(config, settings, data.regions, known)
    shape = tuple(next(iter(data.train.values())).images.shape[1:])
    parameters, macs = count_parameters(module), later_training_macs(module.live, shape)
    phase = replace(Phase.of(PREDISTIL, data, own, directory, taught=True), val={}, pos_weights={}, further=())
    end = run_phase(module, phase, fabric, [known], on_event)
    return Predistilled(backbone=module.finished().backbone, end=end, parameters=parameters, macs=macs)
