"""Read an extracted network of several regions, and rebuild it from public classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from lorkit.decompose.artifacts import Manifest, load_tensors
from lorkit.decompose.documents.gated import GatedLayers
from lorkit.decompose.documents.mixture import MixtureInfo
from lorkit.decompose.documents.network import StoredNetwork
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.models.backbones.registry import build_backbone, new_head
from lorkit.decompose.models.foundation.model import load_strict
from lorkit.decompose.models.mixtures.networks import RegionIdNetwork, RouterNetwork
from lorkit.decompose.models.mixtures.rebuilding import describe_gated, rebuild_gated, rebuild_routed
from lorkit.decompose.models.region_predictor import RegionPredictor
from lorkit.decompose.regions import RegionGroup
from lorkit.decompose.runs.expert import WEIGHTS
from lorkit.decompose.runs.extracted import read_mixture
from lorkit.decompose.runs.listing import EXPERT_INFO
from lorkit.decompose.tasks import dense_outputs, get_task

MixtureNetwork = RegionIdNetwork | RouterNetwork


@dataclass(frozen=True)
class LoadedMixture(StoredNetwork):
    """A network of several regions with verified digests.

    Attributes:
        network: In eval mode; its `input_names` and `output_names` say what it takes and returns.
        info: Its `expert.json`.
        manifest: Its checked manifest.
        path: Its directory.
    """

    network: MixtureNetwork
    info: MixtureInfo
    manifest: Manifest
    path: Path


def load_mixture(directory: Path | str) -> LoadedMixture:
    """Read a network of several regions, also a copied one; every file is checked against its manifest.

    Raises:
        ArtifactError: It is not one, is damaged, or its weights do not match its description.
    """
    path = Path(directory)
    found = read_mixture(path)
    try:
        network = fresh_mixture(found.info)
    except (ValueError, UsageError) as error:
        what = error if isinstance(error, UsageError) else type(error).__name__
        raise ArtifactError(
            f"{path / EXPERT_INFO} does not describe a network ({what})",
            required="an intact network of several regions",
            fix="extract it again with --force",
        ) from None
    load_strict(network, load_tensors(path / WEIGHTS), path / WEIGHTS)
    return LoadedMixture(network.eval(), found.info, found.manifest, path, region=found.region, recipe=found.recipe)


def fresh_mixture(info: MixtureInfo) -> MixtureNetwork:
    """Build the network that a description states, with fresh weights.

    Raises:
        UsageError: It describes none.
    """
    regions: RegionGroup = info.mixture.as_region()
    tasks = [get_task(region.task) for region in regions.members]
    image_shape = (info.image.channels, *info.image.size)
    backbone = build_backbone(
        info.backbone, channels=image_shape[0], image_size=image_shape[1:], dense=dense_outputs(regions.members)
    )
    heads = {
        region.name: new_head(backbone, task.outputs(region), maps=task.dense)
        for region, task in zip(regions.members, tasks, strict=True)
    }
    dense = [task.dense for task in tasks]
    mean, std = info.normalise.mean, info.normalise.std
    if info.mixture.form == "region-id":
        gated, gates = rebuild_gated(backbone, info.gated_layers)
        return RegionIdNetwork(gated, gates, heads, dense, mean=mean, std=std)
    routed = rebuild_routed(backbone, info.gated_layers, image_shape)
    predictor = RegionPredictor(nn.Linear(routed.gating.router.width, len(heads)))
    weighted = info.mixture.policy == "weighted"
    return RouterNetwork(routed, predictor, heads, dense, mean=mean, std=std, weighted=weighted)


def layers_of(network: MixtureNetwork) -> GatedLayers:
    """Describe the gated layers of a network of several regions."""
    if isinstance(network, RegionIdNetwork):
        return describe_gated(network.backbone, [network.gates])
    gated = network.gated
    return describe_gated(gated.backbone, gated.gates, gated.gating)
