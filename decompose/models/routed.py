"""A regional model whose adapters are mixed by a gating network: the region picks only the head.

Shapes: N images of a batch, G groups of layers with their own gates, M adapters, H hidden numbers, T regions.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from lorkit.decompose.config import Config, ExpertConfig
from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts import Routing, add_experts_, expert_layers, extract
from lorkit.decompose.experts.batch_routing import BatchRouting
from lorkit.decompose.experts.gating_network import GatingNetwork, GatingOutput
from lorkit.decompose.experts.insertion import Select
from lorkit.decompose.experts.routers import router_class
from lorkit.decompose.models.backbones.layer_stages import stages_of_layers
from lorkit.decompose.models.backbones.outputs import with_own_output
from lorkit.decompose.models.backbones.registry import Backbone
from lorkit.decompose.models.backbones.stage_adapters import forked, stage_shapes, staged
from lorkit.decompose.models.backbones.stages import STAGES, Encoding
from lorkit.decompose.models.mixtures.building import gated_backbone, gated_specs
from lorkit.decompose.models.mixtures.networks import GatedBackbone
from lorkit.decompose.models.region_features import Rows, features_by_region
from lorkit.decompose.models.regional import RegionalModel, RegionalOutput, grouped
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
        image_shape: (C, *spatial) of an image, for which `gated_backbone` chooses the forms of layers.

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
        image_shape: tuple[int, ...],
    ) -> None:
        self.adapters, self.image_shape = list(adapters), image_shape
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
            gating, features = self._gated_features(self.normalise(grouped(image, plan)), plan)
            heads = self._classified(features, plan)
            gating = GatingOutput(*(plan.restore(value) for value in gating))
            return RoutedOutput(heads, gating, self.region_head(gating.hidden))

    def every_head(self, image: Tensor) -> EveryHead:
        """Return the logits of all heads for images in [0, 1], of any region."""
        with self._gated():
            gating, found = self._run(self.normalise(image))
            kinds = {masks: self._whole(found, masks) for masks in set(self.dense)}
        features = dict(zip(self.regions.names, (kinds[masks] for masks in self.dense), strict=True))
        return EveryHead({name: head(features[name]) for name, head in self.heads.items()}, gating)

    def gate(self, image: Tensor) -> tuple[GatingOutput, Tensor]:
        """Return the gates and the logits of the region predictor (N, T) of images in [0, 1], without the rest."""
        x = self.normalise(image)
        gating = cast(GatingOutput, self.gating(staged(self.backbone).first_grid(x)[0] if self.gating.taps else x))
        return gating, self.region_head(gating.hidden)

    def gated_backbone(self) -> GatedBackbone:
        """Return a new backbone with adapters in plain operations and its own router."""
        specs = gated_specs(self.backbone, self.adapters, self.image_shape, picked=False)
        backbone, gates = gated_backbone(self.backbone, specs, self.adapters)
        return GatedBackbone(backbone, copy.deepcopy(self.gating), gates).eval().requires_grad_(False)

    def plain_network(self, region: str) -> nn.Module:
        """Return a new network of the router, all adapters and the head of one region, in eval mode."""
        gated = self.gated_backbone()
        network = with_own_output(gated.backbone, dense=self.dense_of(region))
        # in place: a copy of the backbone would have gates of its own
        head = copy.deepcopy(self.heads[region]).requires_grad_(False)
        network.set_submodule(cast(Backbone, network).head_name, head)
        gated.backbone = network
        return gated.eval()

    def without_router(self) -> RegionalModel:
        """Return a new model of the shared layers and the heads, without router and adapters, in eval mode."""
        bare = extract(self.backbone, self.adapters[0].regions[0])
        for name, layer in expert_layers(self.backbone).items():
            cast(Tensor, bare.get_submodule(name).weight).data.copy_(layer.base.weight)
        mean, std = self.normalise.mean.tolist(), self.normalise.std.tolist()
        model = RegionalModel(bare, self.regions, mean=mean, std=std)
        model.heads = copy.deepcopy(self.heads)
        return model.eval()

    @contextmanager
    def scope(self, region: Tensor | str | None = None) -> Iterator[BatchRouting]:
        """Open the routing of a batch to heads; gates stay in use until the outermost scope ends.

        So checkpointed blocks, which run again in backward, have the gates of their batch.
        """
        with super().scope(region) as plan, self._gated():
            yield plan

    def _grouped_features(self, image: Tensor, routed: BatchRouting) -> dict[int, Tensor]:
        return self._gated_features(self.normalise(grouped(image, routed)), routed)[1]

    def _gated_features(self, x: Tensor, plan: BatchRouting) -> tuple[GatingOutput, dict[int, Tensor]]:
        """Map normalised images, grouped by region, to gates and the features of each region's rows."""
        with self._gated():
            gating, found = self._run(x)
            if isinstance(found, Tensor):
                return gating, dict(plan.split(found, "heads"))

            @contextmanager
            def scope(rows: Rows) -> Iterator[None]:
                self._use(torch.cat([gating.gates[part] for part in rows.values()]))
                try:
                    yield
                finally:
                    self._use(gating.gates)

            return gating, features_by_region(forked(self.backbone), found, plan, self.dense, scope)

    def _run(self, x: Tensor) -> tuple[GatingOutput, Tensor | Encoding]:
        """Return the gates, and the backbone's output, or all of its stages if that is not what every region needs."""
        if not self.gating.taps:
            gating = cast(GatingOutput, self.gating(x))
            self._use(gating.gates)
            return gating, self.encode(x) if self.forks else self.backbone(x)
        network = forked(self.backbone) if self.forks else None
        stages = network or staged(self.backbone)
        grid, context = stages.first_grid(x)
        gating = cast(GatingOutput, self.gating(grid))
        self._use(gating.gates)
        if network is not None:
            return gating, network.encode_from(0, grid, context)
        return gating, staged(self.backbone).forward_from(0, grid, context)

    def _whole(self, found: Tensor | Encoding, masks: bool) -> Tensor:
        """Return one kind of features of all rows."""
        if isinstance(found, Tensor):
            return found
        network = forked(self.backbone)
        return network.maps(found) if masks else network.pooled(found.last)

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
    config: Config,
    regions: RegionSet,
    backbone: nn.Module,
    select: Select | None,
    *,
    decoder: Collection[str] = (),
    hard: bool = False,
) -> RoutedModel:
    """Add adapters and a gating network of `config.mola` to a student's backbone.

    Layers of the first stage have no adapters if the router reads its grid. Batch norms stay shared, since a sample
    with several gates has no norm of its own. With `hard` each image has one gate, with straight-through gradients.
    `select` and `decoder` are those of `add_experts_`.

    Raises:
        UsageError: The backbone has no known stages, which the router or its gates need, or heads of different classes
            are to be averaged.
    """
    settings, image = config.mola, config.image
    if settings.heads == "weighted":
        check_same_classes(regions)
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

    routing = add_experts_(backbone, names, plain, select=adapted, decoder=decoder)
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
    return RoutedModel(
        backbone, regions, mean=image.mean, std=image.std, adapters=groups, gating=gating, image_shape=shape
    )


def check_same_classes(regions: RegionSet) -> None:
    """Raise UsageError if the outputs of the regions' heads cannot be averaged."""
    first, *others = regions
    for other in others:
        if (other.task, other.classes) != (first.task, first.classes):
            raise UsageError(
                f"head policy 'weighted', but regions {first.name} and {other.name} have different classes",
                required="regions of one task with the same classes",
                fix="set mola.heads to routed or all-heads",
            )
