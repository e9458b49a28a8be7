"""Multi-gate mixture of experts (MMoE): encoders that all regions share, mixed by a gate of each region.

Shapes: N images of a batch, K encoders.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from lorkit.decompose.experts.routing import BatchRouting
from lorkit.decompose.models.backbones.gated_encoders import Encoders, GatedEncoders, gate_weights, new_gate
from lorkit.decompose.models.backbones.registry import attach_head
from lorkit.decompose.models.regional import RegionalModel, grouped
from lorkit.decompose.regions import RegionSet


class MmoeModel(RegionalModel):
    """Normalise, K encoders mixed by the gate of each row's region, then its head.

    Args:
        encoders: The K encoders.
        regions: In the order of the heads.
        image_shape: (C, *spatial).
        mean: Normalisation, one value per channel.
        std: Normalisation, one value per channel.
    """

    def __init__(
        self,
        encoders: Encoders,
        regions: RegionSet,
        image_shape: tuple[int, ...],
        *,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__(encoders, regions, mean=mean, std=std)
        self.gates = nn.ModuleDict({name: new_gate(image_shape, len(encoders)) for name in regions.names})

    def plain_network(self, region: str) -> nn.Module:
        """Return the network of a region: all encoders, its gate and its head; see `RegionalModel.plain_network`."""
        self.regions.index(region)
        encoders = cast(Encoders, copy.deepcopy(self.backbone))
        network = GatedEncoders(encoders, copy.deepcopy(self.gates[region]))
        return attach_head(network, self.heads[region]).eval()

    def _grouped_features(self, image: Tensor, routed: BatchRouting, *, soft: bool = False) -> Tensor:
        del soft  # no gates but its own
        x = self.normalise(grouped(image, routed))
        names = self.routing.regions
        weights = [gate_weights(self.gates[names[t]], rows) for t, rows in routed.split(x, "gates")]
        return cast(Tensor, self.backbone(x, torch.cat(weights)))
