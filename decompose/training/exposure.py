"""How much training a region gets: optimiser steps that hold it, and images of it.

Epochs are no equal budget: in an epoch of five regions, every step of one joint network moves the weights of all, and a
network of one small region has only its own few steps.
"""

from __future__ import annotations

from collections.abc import Mapping

from lorkit.decompose.config import Config
from lorkit.decompose.documents.compare import Exposure
from lorkit.decompose.methods import FitsInOneGo, Method
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.training.first_phase import steps_of
from lorkit.decompose.training.gradient_check import phase_sampler
from lorkit.decompose.training.predistillation import predistillation_settings


def exposure_of(method: Method, config: Config, regions: RegionSet, counts: Mapping[str, int]) -> dict[str, Exposure]:
    """Return the steps and images of each region over all epochs and processes; 0 for methods that fit directly.

    Args:
        method: The method.
        config: Its settings.
        regions: All regions.
        counts: Training samples of each.
    """
    trainings = sum(not isinstance(one, FitsInOneGo) for one in steps_of(method))
    world = config.train.devices * config.train.num_nodes
    found = {}
    for phase in method.phases(regions):
        samples = phase_sampler(config.train, phase, counts).samples_per_batch
        for column, name in enumerate(phase.names):
            steps, images = int((samples[:, column] > 0).sum()), int(samples[:, column].sum()) * world
            times = trainings * config.train.epochs
            found[name] = Exposure(optimiser_steps=times * steps, images=times * images)
    before = predistillation_settings(config)
    if before is not None:
        samples = phase_sampler(before, regions, counts).samples_per_batch
        for column, name in enumerate(regions.names):
            steps, images = int((samples[:, column] > 0).sum()), int(samples[:, column].sum()) * world
            more = (before.epochs * steps, before.epochs * images)
            found[name] = Exposure(
                optimiser_steps=found[name].optimiser_steps + more[0], images=found[name].images + more[1]
            )
    return {name: found[name] for name in regions.names}


def with_joint_steps(config: Config, method: Method, regions: RegionSet, counts: Mapping[str, int]) -> Config:
    """Give a method with a network per region the optimiser steps of one joint training of all regions."""
    if not method.separate:
        return config
    joint = config.train.epochs * phase_sampler(config.train, regions, counts).steps
    least = max(joint, config.train.min_steps or 0)
    return config.model_copy(update={"train": config.train.model_copy(update={"min_steps": least})})
