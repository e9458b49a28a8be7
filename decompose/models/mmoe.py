"""Multi-gate mixture of experts (MMoE): encoders that all regions share, mixed by a gate of each region.

Shapes: N images of a batch, K encoders.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor, nn

from lorkit.decompose.experts.batch_routing import BatchRouting
from lorkit.decompose.models.backbones.gated_encoders import Encoders, GatedEncoders, gate_weights, new_gate, weighted
from lorkit.decompose.models.backbones.outputs import with_own_output
from lorkit.decompose.models.backbones.registry import attach_head
from lorkit.decompose.models.backbones.stage_adapters import encode, forked
from lorkit.decompose.models.region_features import features_by_region
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
        network = GatedEncoders(cast(Encoders, self.backbone), self.gates[region])
        return attach_head(with_own_output(network, dense=self.dense_of(region)), self.heads[region]).eval()

    def _grouped_features(self, image: Tensor, routed: BatchRouting) -> dict[int, Tensor]:
        x = self.normalise(grouped(image, routed))
        names = self.routing.regions
        weights = {t: gate_weights(self.gates[names[t]], rows) for t, rows in routed.split(x, "gates")}
        if not self.forks:
            return dict(routed.split(self.backbone(x, torch.cat(list(weights.values()))), "heads"))
        found = []
        for network in map(forked, cast(Encoders, self.backbone)):
            found.append(
                features_by_region(network, encode(network, x), routed, self.dense, lambda rows: nullcontext())
            )
        return {t: weighted([one[t] for one in found], weights[t]) for t in routed.regions}
