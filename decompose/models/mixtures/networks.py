"""Networks of several regions: by region id, by a router, and a routed expert of one region.

Shapes: N images, T regions, G groups of layers with their own gates, M adapters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from lorkit.decompose.documents.heads import CONFIDENCE, GATES, IMAGE, LOGITS, REGION, REGION_PROBABILITIES, head_output
from lorkit.decompose.experts.gating_network import GatingNetwork, GatingOutput
from lorkit.decompose.models.backbones.outputs import gives_maps
from lorkit.decompose.models.backbones.stage_adapters import encode, forked, staged
from lorkit.decompose.models.backbones.stages import Encoding
from lorkit.decompose.models.deployable import Normalise
from lorkit.decompose.models.mixtures.gates import Gates
from lorkit.decompose.models.region_predictor import RegionPredictor


def forks(backbone: nn.Module, dense: Sequence[bool]) -> bool:
    """Return whether the own output of a backbone is not what every head needs; `dense` are those of masks."""
    return any(masks is not gives_maps(backbone) for masks in dense)


def head_outputs(
    backbone: nn.Module, found: Tensor | Encoding, heads: nn.ModuleDict, dense: Sequence[bool]
) -> list[Tensor]:
    """Return the outputs of all heads for all rows, given the backbone's own output or all of its stages."""
    if isinstance(found, Tensor):
        return [head(found) for head in heads.values()]
    network = forked(backbone)
    kinds = {masks: network.maps(found) if masks else network.pooled(found.last) for masks in sorted(set(dense))}
    return [head(kinds[masks]) for head, masks in zip(heads.values(), dense, strict=True)]


class RegionIdNetwork(nn.Module):
    """Images in [0, 1] and the region of each, to the logits of every head; a row's own head is the one that counts.

    Args:
        backbone: With gated layers, to features.
        gates: Of those layers.
        heads: By region, in the order of the region ids.
        dense: Whether a region has masks, in that order.
        mean: Normalisation, one value per channel.
        std: Normalisation, one value per channel.

    Attributes:
        input_names: Of the arguments.
        output_names: Of the returned tensors.
    """

    input_names: tuple[str, ...] = (IMAGE, REGION)

    def __init__(
        self,
        backbone: nn.Module,
        gates: Gates,
        heads: Mapping[str, nn.Module],
        dense: Sequence[bool],
        *,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.normalise, self.backbone, self.heads = Normalise(mean, std), backbone, nn.ModuleDict(heads)
        self.gates, self.dense = gates, tuple(dense)
        self.output_names = tuple(head_output(name) for name in heads)

    def forward(self, image: Tensor, region: Tensor) -> tuple[Tensor, ...]:
        """Map images (N, C, *spatial) and region ids (N,) int64 to (N, K_t, *spatial) of each region t."""
        self.gates.pick(region)
        x = self.normalise(image)
        found = encode(forked(self.backbone), x) if forks(self.backbone, self.dense) else self.backbone(x)
        return tuple(head_outputs(self.backbone, found, self.heads, self.dense))


class GatedBackbone(nn.Module):
    """A backbone whose gated layers a gating network sets, from its input or from its first stage.

    Args:
        backbone: With gated layers; a head may be attached.
        gating: Reads the input, or the grid of the first stage.
        gates: Of each group of layers.
    """

    def __init__(self, backbone: nn.Module, gating: GatingNetwork, gates: Sequence[Gates]) -> None:
        super().__init__()
        self.backbone, self.gating, self.gates = backbone, gating, list(gates)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (N, C, *spatial) to the backbone's output."""
        return cast(Tensor, self.run(x, forks=False)[1])

    def run(self, x: Tensor, *, forks: bool) -> tuple[GatingOutput, Tensor | Encoding]:
        """Return the output of the gating network, and the backbone's own one or all of its stages (`forks`)."""
        network = forked(self.backbone) if forks else None
        if not self.gating.taps:
            return self._use(x), self.backbone(x) if network is None else encode(network, x)
        stages = staged(self.backbone) if network is None else network
        grid, context = stages.first_grid(x)
        gating = self._use(grid)
        if network is not None:
            return gating, network.encode_from(0, grid, context)
        return gating, staged(self.backbone).forward_from(0, grid, context)

    def _use(self, read: Tensor) -> GatingOutput:
        gating = cast(GatingOutput, self.gating(read))
        for group, gates in enumerate(self.gates):
            gates.weigh(gating.gates[:, group])
        return gating


class RouterNetwork(nn.Module):
    """Images in [0, 1] of any region, to the logits of every head, the probability of each region, and the gates.

    Args:
        gated: To features.
        predictor: From the router's hidden numbers to probabilities of the regions and a confidence.
        heads: By region.
        dense: Whether a region has masks, in the order of `heads`.
        mean: Normalisation, one value per channel.
        std: Normalisation, one value per channel.
        weighted: Whether to return one more output `logits`: those of the heads, weighted by the region probabilities.

    Attributes:
        input_names: Of the arguments.
        output_names: Of the returned tensors.
    """

    input_names: tuple[str, ...] = (IMAGE,)

    def __init__(
        self,
        gated: GatedBackbone,
        predictor: RegionPredictor,
        heads: Mapping[str, nn.Module],
        dense: Sequence[bool],
        *,
        mean: Sequence[float],
        std: Sequence[float],
        weighted: bool,
    ) -> None:
        super().__init__()
        self.normalise, self.gated, self.predictor = Normalise(mean, std), gated, predictor
        self.heads, self.dense, self.weighted = nn.ModuleDict(heads), tuple(dense), weighted
        names = [head_output(name) for name in heads]
        self.output_names = (*names, *([LOGITS] if weighted else []), REGION_PROBABILITIES, CONFIDENCE, GATES)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map images (N, C, *spatial) to the tensors of `output_names`.

        Logits are (N, K_t, *spatial), region probabilities (N, T), confidences (N,) and gates (N, G, M).
        """
        backbone = self.gated.backbone
        gating, found = self.gated.run(self.normalise(image), forks=forks(backbone, self.dense))
        logits = head_outputs(backbone, found, self.heads, self.dense)
        probability_NT, confidence_N = self.predictor(gating.hidden)
        if self.weighted:
            shape = (*probability_NT.shape, *(1,) * (logits[0].dim() - 1))
            logits.append((torch.stack(logits, 1) * probability_NT.view(shape)).sum(1))
        return (*logits, probability_NT, confidence_N, gating.gates)


class OneHead(nn.Module):
    """One head of a network of several regions, for images that are all of its region: images to its logits.

    Args:
        network: The network.
        index: Of the region.
    """

    def __init__(self, network: RegionIdNetwork | RouterNetwork, index: int) -> None:
        super().__init__()
        self.network, self.index = network, index
        self.train(network.training)

    def forward(self, image: Tensor) -> Tensor:
        """Map images (N, C, *spatial) to (N, K, *spatial)."""
        if isinstance(self.network, RouterNetwork):
            return cast(Tensor, self.network(image)[self.index])
        region = torch.full((len(image),), self.index, device=image.device)
        return cast(Tensor, self.network(image, region)[self.index])
