"""A regional model whose adapters are mixed by a gating network: the region picks only the head.

Shapes: N images of a batch, G groups of layers with their own gates, M adapters, H hidden numbers, T regions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, cast

from torch import Tensor, nn

from lorkit.decompose.config import Config, ExpertConfig
from lorkit.decompose.experts import Routing, add_experts_, expert_layers
from lorkit.decompose.experts.gating_network import GatingNetwork, GatingOutput
from lorkit.decompose.experts.insertion import Select
from lorkit.decompose.experts.routers import router_class
from lorkit.decompose.experts.routing import BatchRouting
from lorkit.decompose.models.backbones.layer_stages import stages_of_layers
from lorkit.decompose.models.backbones.stage_adapters import stage_shapes, staged
from lorkit.decompose.models.backbones.stages import STAGES
from lorkit.decompose.models.regional import RegionalModel, RegionalOutput
from lorkit.decompose.regions import RegionSet


class RoutedOutput(NamedTuple):
    """Outputs for a batch whose regions are known, and its gates.

    Attributes:
        heads: Features and each region's logits.
        gating: Hidden numbers, scores and gates, in the order of the batch.
        regions: (N, T) logits of the region predictor, in the order of the batch.
    """

    heads: RegionalOutput
    gating: GatingOutput
    regions: Tensor


class EveryHead(NamedTuple):
    """Outputs for a batch whose regions are unknown: the logits of each region's head, (N, C_t, ...), and the gates."""

    logits: dict[str, Tensor]
    gating: GatingOutput


class RoutedModel(RegionalModel):
    """Normalise, a backbone with adapters that a gating network mixes, then the head of each row's region.

    Args:
        backbone: A headless network after `add_routed_adapters_`, its norms shared.
        regions: In the order of the heads.
        mean: Normalisation, one value per channel.
        std: Normalisation, one value per channel.
        adapters: The routing of each group of layers, of G groups; their names are those of the M adapters.
        gating: Of the same groups and adapters.

    Attributes:
        region_head: From hidden numbers to logits of the regions, (N, H) to (N, T).
    """

    def __init__(
        self,
        backbone: nn.Module,
        regions: RegionSet,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        adapters: Sequence[Routing],
        gating: GatingNetwork,
    ) -> None:
        self.adapters = list(adapters)
        super().__init__(backbone, regions, mean=mean, std=std)
        self.gating = gating
        self.region_head = nn.Linear(gating.router.width, len(regions))
        self._open = 0

    def forward(self, image: Tensor, region: Tensor | str | None = None) -> RegionalOutput:
        """Map images to features and each region's logits in one pass; arguments as in `RegionalModel.forward`."""
        return self.routed(image, region).heads

    def routed(self, image: Tensor, region: Tensor | str | None = None) -> RoutedOutput:
        """Return the outputs of `forward` with the gates and the logits of the region predictor."""
        with self.scope(region) as plan:
            gating, features = self.gated_features(self.normalise(plan.group(image)))
            heads = self._classified(features, plan)
            gating = GatingOutput(*(plan.restore(value) for value in gating))
            return RoutedOutput(heads, gating, self.region_head(gating.hidden))

    def every_head(self, image: Tensor) -> EveryHead:
        """Return the logits of all heads for images in [0, 1], of any region."""
        gating, features = self.gated_features(self.normalise(image))
        return EveryHead({name: head(features) for name, head in self.heads.items()}, gating)

    def gated_features(self, x: Tensor) -> tuple[GatingOutput, Tensor]:
        """Map normalised images (N, C, *spatial) to gates and features; the regions are not needed."""
        with self._gated():
            if not self.gating.taps:
                gating = cast(GatingOutput, self.gating(x))
                self._use(gating.gates)
                return gating, self.backbone(x)
            stages = staged(self.backbone)
            grid, context = stages.first_grid(x)
            gating = cast(GatingOutput, self.gating(grid))
            self._use(gating.gates)
            return gating, stages.forward_from(0, grid, context)

    def gate(self, image: Tensor) -> tuple[GatingOutput, Tensor]:
        """Return the gates and the logits of the region predictor (N, T) of images in [0, 1], without the rest."""
        x = self.normalise(image)
        gating = cast(GatingOutput, self.gating(staged(self.backbone).first_grid(x)[0] if self.gating.taps else x))
        return gating, self.region_head(gating.hidden)

    @contextmanager
    def scope(self, region: Tensor | str | None = None) -> Iterator[BatchRouting]:
        """Open the routing of a batch to heads; gates stay in use until the outermost scope ends.

        So checkpointed blocks, which run again in backward, have the gates of their batch.
        """
        with super().scope(region) as plan, self._gated():
            yield plan

    def _grouped_features(self, image: Tensor, routed: BatchRouting, *, soft: bool = False) -> Tensor:
        del soft
        return self.gated_features(self.normalise(routed.group(image)))[1]

    def _routings(self) -> Sequence[Routing]:
        return self.adapters

    @contextmanager
    def _gated(self) -> Iterator[None]:
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            if not self._open:
                for adapters in self.adapters:
                    adapters.close()

    def _use(self, gates: Tensor) -> None:
        for group, adapters in enumerate(self.adapters):
            adapters.open(gates[:, group])


def build_routed(
    config: Config, regions: RegionSet, backbone: nn.Module, select: Select | None, *, hard: bool = False
) -> RoutedModel:
    """Add adapters and a gating network of `config.mola` to a student's backbone.

    Layers of the first stage have no adapters if the router reads its grid. Batch norms stay shared, since a sample
    with several gates has no norm of its own. With `hard` each image has one gate, with straight-through gradients.

    Raises:
        UsageError: The backbone has no known stages, which the router or its gates need.
    """
    settings, image = config.mola, config.image
    shape = (image.channels, *image.size)
    kind = router_class(settings.router)
    per_stage = settings.gates == "stage"
    stage_of = stages_of_layers(backbone, shape) if kind.taps or per_stage else {}
    router = kind(stage_shapes(backbone, shape)[0] if kind.taps else shape)
    names = [str(index) for index in range(settings.adapters or len(regions))]
    plain = ExpertConfig.model_validate(
        settings.model_dump(include=set(ExpertConfig.model_fields)) | {"norm": "shared", "ranks": {}}
    )

    def adapted(module: nn.Module, name: str) -> bool:
        tapped = kind.taps and stage_of[name] == 0
        return not tapped and (select is None or select(module, name))

    routing = add_experts_(backbone, names, plain, select=adapted)
    groups = [routing]
    if per_stage:
        groups = [Routing(routing.regions, routing.wrapped, routing.skipped) for _ in range(STAGES)]
        for name, layer in expert_layers(backbone).items():
            layer.routing = groups[stage_of[name]]
    gating = GatingNetwork(
        router,
        len(names),
        groups=len(groups),
        temperature=settings.temperature,
        top_k=1 if hard else settings.top_k,
        straight_through=hard,
    )
    return RoutedModel(backbone, regions, mean=image.mean, std=image.std, adapters=groups, gating=gating)
