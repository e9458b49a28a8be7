"""The deployable networks of several regions of a trained model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import nn

from lorkit.decompose.documents.heads import HeadPolicy
from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.mixtures.building import gated_backbone, gated_specs
from lorkit.decompose.models.mixtures.networks import RegionIdNetwork, RouterNetwork
from lorkit.decompose.models.region_predictor import RegionPredictor
from lorkit.decompose.models.regional import RegionalModel, SeparateModels
from lorkit.decompose.models.routed import RoutedModel, check_same_classes


def require_picked(model: RegionalModel | SeparateModels) -> RegionalModel:
    """Return a trained model whose experts the region picks; raise UsageError for another one."""
    if isinstance(model, RegionalModel) and not isinstance(model, RoutedModel):
        return model
    routed = isinstance(model, RoutedModel)
    raise UsageError(
        "a network by region id of " + ("a run with a router" if routed else "separate networks"),
        required="one network for all regions whose experts the region picks, such as those of lorkd and mola-grad",
        fix="use --router: it needs no region" if routed else "extract each region with --region all",
    )


def region_id_network(model: RegionalModel, image_shape: tuple[int, ...]) -> RegionIdNetwork:
    """Return one network for mixed batches whose regions are known, in eval mode.

    Args:
        model: A trained model whose experts the region picks.
        image_shape: (C, *spatial), for which the forms of gated layers are chosen.
    """
    routings = [model.routing]
    specs = gated_specs(model.backbone, routings, image_shape, picked=True)
    backbone, gates = gated_backbone(model.backbone, specs, routings)
    mean, std = model.normalise.mean.tolist(), model.normalise.std.tolist()
    return RegionIdNetwork(backbone, gates[0], _heads(model), model.dense, mean=mean, std=std).eval()


def require_router(model: RegionalModel | SeparateModels) -> RoutedModel:
    """Return a trained model with a router; raise UsageError for another one."""
    if isinstance(model, RoutedModel):
        return model
    raise UsageError(
        "a router of a run without one",
        required="a run of method mola-router",
        fix="train one, or use --region-id where the region of every image is known",
    )


def router_network(model: RoutedModel, predictor: RegionPredictor, policy: HeadPolicy) -> RouterNetwork:
    """Return the network that needs no region, in eval mode.

    Args:
        model: A trained model.
        predictor: Of its regions.
        policy: `weighted` adds the mean of the heads as one output.

    Raises:
        UsageError: Heads of different classes are to be averaged.
    """
    if policy == "weighted":
        check_same_classes(model.regions)
    mean, std = model.normalise.mean.tolist(), model.normalise.std.tolist()
    weighted = policy == "weighted"
    network = RouterNetwork(
        model.gated_backbone(), predictor, _heads(model), model.dense, mean=mean, std=std, weighted=weighted
    )
    return network.eval().requires_grad_(False)


def _heads(model: RegionalModel) -> Mapping[str, nn.Module]:
    return cast(Mapping[str, nn.Module], model.heads)
