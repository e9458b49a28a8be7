"""MoLA-Router: a router mixes low-rank adapters for every image, so no region needs to be known for the features.

The loss is that of the tasks, TwD on the gates (`twd`), and a region predictor on the router's hidden numbers, which
chooses the head where the region is unknown. All weights, among them the router's, are trained by one optimiser in one
step.

Shapes: N samples of a batch, G groups of gates, M adapters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lorkit.decompose.config import Config, MolaConfig, TrainConfig
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.errors import UsageError
from lorkit.decompose.events import GateFigures
from lorkit.decompose.experts.gating_network import GatingOutput
from lorkit.decompose.methods.base import Method, TrainingModule
from lorkit.decompose.methods.expert_student import check_decoder, decoder_layers, selected, with_own_group
from lorkit.decompose.methods.losses.cka.gather import gather_rows
from lorkit.decompose.methods.mola.gate_figures import gate_figures
from lorkit.decompose.methods.mola.twd import decorrelation
from lorkit.decompose.methods.student import student_backbone
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.routed import RoutedModel, build_routed
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.tasks.losses import Terms, by_region


class RoutedModule(TrainingModule):
    """A routed student with the losses of MoLA-Router.

    Args:
        live: The student.
        train: Budget and smoothing.
        settings: Section `mola`.
    """

    live: RoutedModel

    def __init__(self, live: RoutedModel, train: TrainConfig, settings: MolaConfig) -> None:
        super().__init__(live, train)
        self.settings = settings
        projected = settings.twd.weight > 0 and settings.twd.target == "projected"
        scores = live.gating.groups * live.gating.adapters
        self.projection = nn.Linear(scores, settings.twd.width) if projected else None

    def forward(self, batch: Batch, teacher: Any) -> Terms:
        """Return those of the terms ce, twd and region with a weight above zero."""
        del teacher
        output = self.live.routed(batch.image, batch.region)
        terms: Terms = {"ce": self.task_loss(output.heads, batch)}
        if self.settings.twd.weight > 0:
            terms["twd"] = self._twd(output.gating, batch.region, output.heads.rows)
        if self.settings.region_weight > 0 and len(self.live.regions) > 1:
            loss_N = F.cross_entropy(output.regions, batch.region, reduction="none")
            terms["region"] = by_region(self.settings.region_weight * loss_N, output.heads.rows)
        return terms

    def _twd(self, gating: GatingOutput, region_N: Tensor, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return each region's part of the decorrelation, over the samples of all ranks."""
        settings = self.settings.twd
        rows_ND = (gating.gates if settings.target == "gates" else gating.scores).flatten(1)
        if self.projection is not None:
            rows_ND = self.projection(rows_ND)
        everything = gather_rows(torch.cat([rows_ND, region_N[:, None].to(rows_ND.dtype)], 1))
        region_A = everything[:, -1].long()
        part_A = settings.weight * decorrelation(everything[:, :-1], region_A, settings.tau)
        names = self.live.regions
        return {name: torch.where(region_A == names.index(name), part_A, 0.0).sum() for name in rows}

    def gate_figures(self, val: Mapping[str, PreparedRegion]) -> GateFigures:
        """Return the gates on validation images, by region."""
        return gate_figures(self.live, val)

    def parameter_groups(self, train: TrainConfig) -> list[dict[str, Any]]:
        """Return the groups of the base class with a separate one for the factors."""
        return with_own_group(super().parameter_groups(train), self.live.backbone, self.settings)


class MolaRouter(Method):
    """`mola-router`: adapters mixed by a router; the region picks only the head.

    Attributes:
        hard: Whether each image gets one adapter alone.
    """

    name = "mola-router"
    finds_region = True
    routed = True
    hard: bool = False

    def network(self, config: Config, regions: RegionSet) -> RoutedModel:
        """Build the student with adapters, a router and a head for each region.

        Raises:
            UsageError: It cannot have adapters, or has no stages that the router needs.
        """
        backbone = student_backbone(config, regions)
        decoder = decoder_layers(backbone)
        return build_routed(config, regions, backbone, selected(config.mola), decoder=decoder, hard=self.hard)

    def resolve(self, config: Config, regions: RegionSet, samples: int) -> Config:
        """Return the settings unchanged; raise UsageError for ranks of a decoder that the student lacks, or windows."""
        check_decoder(config, regions, "mola")
        self._refuse_windows(config)
        return super().resolve(config, regions, samples)

    def _refuse_windows(self, config: Config) -> None:
        named = next((name for name, one in config.regions.items() if one.spacing is not None), None)
        if named is not None:
            raise UsageError(
                f"spacing of region '{named}' with method {self.name}, which finds the region of a whole image",
                required="a method that is told the region, such as lorkd, rd or mola-grad",
                fix="choose one, or leave spacing out",
            )

    def build(self, config: Config, regions: RegionSet, foundation: Foundation | None) -> TrainingModule:
        """Build the routed student; the foundation is only the baseline of the gate."""
        del foundation
        return RoutedModule(self.network(config, regions), config.train, config.mola)

    def notices(self, config: Config) -> list[str]:
        """Return a notice for settings of adapters by region, which a router does not have."""
        found = []
        if config.mola.norm != "shared":
            found.append(f"mola.norm {config.mola.norm} has no effect on method {self.name}: its norms are shared")
        if config.mola.ranks:
            found.append(f"mola.ranks has no effect on method {self.name}: its adapters are of no region")
        return found


METHOD = MolaRouter()
