"""The deployable network of a region: the expert, the student without experts, or the foundation model."""

from __future__ import annotations

import copy
from functools import cached_property

import torch

from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.experts import LowRankExperts, expert_layers
from lorkit.decompose.experts.layers import DepthwiseExperts
from lorkit.decompose.models.deployable import Deployable
from lorkit.decompose.models.foundation.model import Foundation, load_foundation
from lorkit.decompose.models.foundation.teacher import Teacher
from lorkit.decompose.models.regional import RegionalModel, SeparateModels
from lorkit.decompose.models.routed import RoutedModel
from lorkit.decompose.runs import Run
from lorkit.decompose.runs.live_model import load_model


class RunNetworks:
    """The networks of a run, each model read once on first use.

    Args:
        run: A finished run.
        teacher: Its foundation, if that is the user's own.
    """

    def __init__(self, run: Run, teacher: Teacher | None = None) -> None:
        self.run, self.teacher = run, teacher

    @cached_property
    def live(self) -> RegionalModel | SeparateModels:
        """The trained model with all its regions; raise UsageError for a network that lorkit did not train."""
        if self.run.given is not None:
            raise UsageError(
                f"{self.run.place} is {self.run.given.source}, which lorkit did not train",
                required="a run, for this command",
                fix="use export, verify, bench, evaluate, gate, report or predict",
            )
        return load_model(self.run.path)

    @cached_property
    def foundation_model(self) -> Foundation:
        """The frozen foundation model.

        Raises:
            ArtifactError: It is damaged.
            UsageError: The run has none, or it is the user's own teacher, and was not given.
        """
        if not self.run.has_foundation:
            raise UsageError(
                f"run {self.run.id} has no foundation (method {self.run.config.method})",
                required="a run with one",
                fix="choose the experts or the student, or name another export as the baseline",
            )
        return load_foundation(self.run.foundation_dir, self.teacher)

    def expert(self, region: str) -> Deployable:
        """Return the network that `extract` writes: the region's expert merged into the student."""
        return self.live.deployable(region)

    def student(self, region: str) -> Deployable:
        """Return the student without low-rank updates, and without a router; separate networks are unchanged."""
        return self._bare.deployable(region)

    def foundation(self, region: str) -> Deployable:
        """Return the foundation model with its head (own or probe) of the region; raise ArtifactError without one."""
        self.require_foundation(region)
        return self.foundation_model.model.deployable(region)

    def require_foundation(self, region: str) -> None:
        """Raise ArtifactError if the foundation model has no head for the region; further errors as its own."""
        if region not in self.foundation_model.heads:
            raise ArtifactError(
                f"the foundation model of {self.run.path} has no head for region '{region}'",
                required=f"one of {', '.join(self.foundation_model.heads)}",
                fix="train again with --force, which fits a probe for every region",
            )

    @cached_property
    def _bare(self) -> RegionalModel | SeparateModels:
        if isinstance(self.live, RoutedModel):
            return self.live.without_router()
        bare = copy.deepcopy(self.live)
        with torch.no_grad():
            # an update of zeros leaves the shared weights identical bit by bit
            for layer in expert_layers(bare).values():
                updates = layer.up if isinstance(layer, LowRankExperts) else None
                if isinstance(layer, DepthwiseExperts):
                    updates = layer.kernel
                for update in (updates or {}).values():
                    update.zero_()
        return bare
