"""The deployable networks of several regions of a trained model, with what rebuilds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import nn

from lorkit.decompose.documents.heads import HeadPolicy
from lorkit.decompose.documents.mixture import GatedSpec
from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.mixtures.building import gated_backbone, gated_specs
from lorkit.decompose.models.mixtures.networks import RegionIdNetwork, RouterNetwork
from lorkit.decompose.models.region_predictor import RegionPredictor
from lorkit.decompose.models.regional import RegionalModel, SeparateModels
from lorkit.decompose.models.routed import RoutedModel, check_same_classes


def region_id_network(
    model: RegionalModel | SeparateModels, image_shape: tuple[int, ...]
) -> tuple[RegionIdNetwork, list[GatedSpec]]:
    """Return one network for mixed batches whose regions are known, and its gated layers.

    Args:
        model: A trained model.
        image_shape: (C, *spatial), for which the forms of gated layers are chosen.

    Raises:
        UsageError: The regions have separate networks, or a router mixes the adapters.
    """
    if not isinstance(model, RegionalModel) or isinstance(model, RoutedModel):
        routed = isinstance(model, RoutedModel)
        raise UsageError(
            "a network by region id of " + ("a run with a router" if routed else "separate networks"),
            required="one network for all regions whose experts the region picks, such as those of lorkd and mola-grad",
            fix="use --router: it needs no region" if routed else "extract each region with --region all",
        )
    routings = [model.routing]
    specs = gated_specs(model.backbone, routings, image_shape, picked=True)
    backbone, gates = gated_backbone(model.backbone, specs, routings)
    mean, std = model.normalise.mean.tolist(), model.normalise.std.tolist()
    return RegionIdNetwork(backbone, gates[0], _heads(model), model.dense, mean=mean, std=std).eval(), specs


def router_network(
    model: RegionalModel | SeparateModels, predictor: RegionPredictor, policy: HeadPolicy
) -> tuple[RouterNetwork, list[GatedSpec]]:
    """Return the network that needs no region, and its gated layers.

    Args:
        model: A trained model with a router.
        predictor: Of its regions.
        policy: `weighted` adds the mean of the heads as one output.

    Raises:
        UsageError: The model has no router, or heads of different classes are to be averaged.
    """
    if not isinstance(model, RoutedModel):
        raise UsageError(
            "a router of a run without one",
            required="a run of method mola-router",
            fix="train one, or use --region-id where the region of every image is known",
        )
    if policy == "weighted":
        check_same_classes(model.regions)
    gated, specs = model.gated_backbone()
    mean, std = model.normalise.mean.tolist(), model.normalise.std.tolist()
    network = RouterNetwork(
        gated, predictor, _heads(model), model.dense, mean=mean, std=std, weighted=policy == "weighted"
    )
    return network.eval().requires_grad_(False), specs


def _heads(model: RegionalModel) -> Mapping[str, nn.Module]:
    return cast(Mapping[str, nn.Module], model.heads)
