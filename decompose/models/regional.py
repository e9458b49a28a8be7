"""One model for all regions: normalisation, a backbone with or without experts, one head per region.

Shapes: N images of a batch, n_t of them of region t, F features, M channels of maps, C_t outputs of region t.

Heads of classes and labels get pooled features, those of masks get maps; one backbone gives both, each for the rows of
the regions that need it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.experts import Routing, expert_layers, extract
from lorkit.decompose.experts.batch_routing import BatchRouting
from lorkit.decompose.experts.routing import check_names
from lorkit.decompose.models.backbones.outputs import feature_width, gives_maps, with_own_output
from lorkit.decompose.models.backbones.registry import attach_head, new_head
from lorkit.decompose.models.backbones.stage_adapters import encode, forked
from lorkit.decompose.models.backbones.stages import Encoding
from lorkit.decompose.models.deployable import Deployable, Normalise
from lorkit.decompose.models.region_features import Rows, features_by_region, plan_of
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.tasks import get_task


class RegionalOutput(NamedTuple):
    """Outputs of a model for a batch, by the regions of the batch in routing order.

    Attributes:
        features: By region, (n_t, F), or maps (n_t, M, *spatial) of a region with masks.
        logits: By region, (n_t, C_t), or (n_t, C_t, *spatial).
        rows: By region, (n_t,) int64 ascending rows of the batch that features and logits belong to.
    """

    features: dict[str, Tensor]
    logits: dict[str, Tensor]
    rows: dict[str, Tensor]


class _Regional(nn.Module):
    """The interface of joint and separate models."""

    def __init__(self, regions: RegionSet, routing: Routing) -> None:
        super().__init__()
        check_names(regions.names)
        if routing.regions != regions.names:
            raise UsageError(
                f"experts of regions {', '.join(routing.regions)}",
                required=f"the regions of the model, in its order: {', '.join(regions.names)}",
                fix="build both from one RegionSet",
            )
        self.regions = regions
        self.routing = routing

    def scope(self, region: Tensor | str | None = None) -> AbstractContextManager[BatchRouting]:
        """Open the routing of a batch, which a training step holds around forward and backward.

        Args:
            region: (N,) region indices, one name for the whole batch, or None for the active region.

        Raises:
            UsageError: There is no active region.
            DataError: Indices out of range.
        """
        return self.routing.use(self._selection(region), sort=True)

    def activate(self, region: str | None) -> None:
        """Set the region of calls that name none, until the next call (task knowledge switch)."""
        self.routing.activate(region)

    def plain_network(self, region: str) -> nn.Module:
        """Return a new network of a region with its head: original classes and keys, logits out, in eval mode.

        Its input is normalised (`deployable` includes the normalisation).

        Raises:
            UsageError: The region is unknown.
        """
        dense = get_task(self.regions.get(region).task).dense
        model = self.model_of(region)
        network = with_own_output(extract(model.backbone, region), dense=dense)
        return attach_head(network, model.heads[region]).eval()

    def deployable(self, region: str) -> Deployable:
        """Return a region's plain network with the model's normalisation: images in [0, 1] to logits."""
        network, normalise = self.plain_network(region), self.model_of(region).normalise
        return Deployable(network, mean=normalise.mean.tolist(), std=normalise.std.tolist()).eval()

    def model_of(self, region: str) -> RegionalModel:
        """Return the model that a region's images go through."""
        raise NotImplementedError

    def _selection(self, region: Tensor | str | None) -> Tensor | str:
        selection = self.routing.active if region is None else region
        if selection is None:
            raise UsageError(
                "a batch without a region", required="indices, a name, or an active region", fix="call activate(region)"
            )
        return selection


class RegionalModel(_Regional):
    """Normalise, then one backbone for all regions, then the head of each row's region.

    Args:
        backbone: A headless network of `build_backbone`, plain or after `add_experts_`.
        regions: In the order of the routing indices.
        mean: Normalisation, one value per channel.
        std: Normalisation, one value per channel.
        routing: The result of `add_experts_`; None for a backbone without experts.

    Attributes:
        dense: By region index, whether a region has masks.
        forks: Whether the backbone's own output is not what every region needs, so that its stages are used.
    """

    def __init__(
        self,
        backbone: nn.Module,
        regions: RegionSet,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        routing: Routing | None = None,
    ) -> None:
        super().__init__(regions, routing or Routing(regions.names))
        known = {id(routing) for routing in self._routings()}
        if any(id(layer.routing) not in known for layer in expert_layers(backbone).values()):
            raise UsageError("a backbone with experts", required="its routing", fix="pass what add_experts_ returned")
        self.normalise = Normalise(mean, std)
        self.backbone = backbone
        self.dense = tuple(get_task(region.task).dense for region in regions)
        self.forks = any(dense is not gives_maps(backbone) for dense in self.dense)
        self.heads = nn.ModuleDict()
        for region, dense in zip(regions, self.dense, strict=True):
            self.heads[region.name] = new_head(backbone, get_task(region.task).outputs(region), maps=dense)

    def forward(self, image: Tensor, region: Tensor | str | None = None) -> RegionalOutput:
        """Map images to features and each region's logits in one pass.

        Rows are grouped by region before the first layer, and restored at the end. The caller's routing scope is used
        if it has the same `region` object; else one is opened for the forward pass, which suffices unless activation
        checkpointing repeats the forward in backward.

        Args:
            image: (N, C, *spatial) in [0, 1].
            region: (N,) region indices, one name for all, or None for the active region.
        """
        with self.scope(region) as routed:
            return self._classified(self._grouped_features(image, routed), routed)

    def classify_features(self, features: Mapping[str, Tensor], region: Tensor | str | None = None) -> RegionalOutput:
        """Return the result of `forward` for its features, which were computed earlier."""
        with self.scope(region) as routed:
            return self._classified({self.routing.index(name): rows for name, rows in features.items()}, routed)

    def features(self, image: Tensor, region: Tensor | str | None = None) -> Tensor:
        """Map images (N, C, *spatial) to features (N, F), or (N, M, *spatial) of a region with masks.

        Soft gates (N, T) of experts are allowed if the backbone's own output is what every region needs.

        Raises:
            UsageError: A batch of regions with masks and others.
        """
        with self.scope(region) as routed:
            if routed.gates is not None and not self.forks and expert_layers(self.backbone):
                return cast(Tensor, self.backbone(self.normalise(image)))
            found = self._grouped_features(image, routed)
            if len({self.dense[t] for t in found}) > 1:
                raise UsageError(
                    "a batch of regions with masks and others", required="one kind of features", fix="call the model"
                )
            return routed.restore(_joined(list(found.values())))

    def encode(self, image: Tensor) -> Encoding:
        """Run all stages on normalised images (N, C, *spatial)."""
        return encode(forked(self.backbone), image)

    def feature_width(self, region: str) -> int:
        """Return the width of the features of a region."""
        return feature_width(self.backbone, dense=self.dense_of(region))

    def dense_of(self, region: str) -> bool:
        """Return whether a region has masks."""
        return self.dense[self.regions.index(region)]

    def model_of(self, region: str) -> RegionalModel:
        """Return this model."""
        return self

    def _routings(self) -> Sequence[Routing]:
        """Return the routings of the backbone's expert layers."""
        return [self.routing]

    def _classified(self, features: Mapping[int, Tensor], routed: BatchRouting) -> RegionalOutput:
        named = {self.routing.regions[t]: rows for t, rows in features.items()}
        logits = {name: self.heads[name](rows) for name, rows in named.items()}
        return RegionalOutput(named, logits, _rows_of(routed, named))

    def _grouped_features(self, image: Tensor, routed: BatchRouting) -> dict[int, Tensor]:
        """Return the features of each region's rows."""
        x = self.normalise(grouped(image, routed))
        if not self.forks:
            return dict(routed.split(self.backbone(x), "heads"))

        def scope(rows: Rows) -> AbstractContextManager[None]:
            return self.routing.within(plan_of(routed, rows))

        return features_by_region(forked(self.backbone), self.encode(x), routed, self.dense, scope)


class SeparateModels(_Regional):
    """One independent network per region with the interface of `RegionalModel` (single-task learning).

    Args:
        models: By region, a model of that region alone; their normalisations must agree.
        regions: In the order of the routing indices.
    """

    def __init__(self, models: Mapping[str, RegionalModel], regions: RegionSet) -> None:
        super().__init__(regions, Routing(regions.names))
        if tuple(models) != regions.names:
            raise UsageError(
                f"models of {', '.join(models)}",
                required=f"one per region, in order: {', '.join(regions.names)}",
                fix="build both from one RegionSet",
            )
        self.models = nn.ModuleDict(models)

    def forward(self, image: Tensor, region: Tensor | str | None = None) -> RegionalOutput:
        """Run each region's network on its rows; arguments as in `RegionalModel.forward`."""
        with self.scope(region) as routed:
            parts = [(self.routing.regions[t], rows) for t, rows in routed.split(grouped(image, routed), "heads")]
            outputs = {name: self.model_of(name)(rows, name) for name, rows in parts}
            features = {name: output.features[name] for name, output in outputs.items()}
            logits = {name: output.logits[name] for name, output in outputs.items()}
            return RegionalOutput(features, logits, _rows_of(routed, features))

    def model_of(self, region: str) -> RegionalModel:
        """Return the model of the region."""
        return cast(RegionalModel, self.models[region])


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def grouped(image: Tensor, routed: BatchRouting) -> Tensor:
    """Group the images of a batch by region.

    Raises:
        UsageError: Soft gates.
        DataError: There is not one region per image.
    """
    if routed.gates is not None:
        raise UsageError(
            "soft gates",
            required="one region per row, to choose its head or network",
            fix="call RegionalModel.features of regions that need one kind of features",
        )
    if isinstance(routed.source, Tensor) and len(routed.source) != len(image):
        raise DataError(
            f"{len(routed.source)} region indices for {len(image)} images", required="one per image", fix="align them"
        )
    return routed.group(image)


def _rows_of(routed: BatchRouting, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the rows of the batch that the features of each region belong to."""
    sizes = [len(rows) for rows in features.values()]
    order = routed.group(torch.arange(sum(sizes), device=next(iter(features.values())).device))
    return dict(zip(features, torch.split(order, sizes), strict=True))
