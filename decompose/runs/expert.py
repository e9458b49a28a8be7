"""Read an extracted expert, and rebuild its network from public classes and plain keys.

An expert of a run with a router has the router and its adapters beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from lorkit.decompose.artifacts import Manifest, load_tensors
from lorkit.decompose.documents.expert import ExpertInfo
from lorkit.decompose.documents.network import StoredNetwork
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.models.backbones.outputs import with_own_output
from lorkit.decompose.models.backbones.registry import attach_head, build_backbone, new_head
from lorkit.decompose.models.deployable import Deployable
from lorkit.decompose.models.foundation.model import load_strict
from lorkit.decompose.models.mixtures.rebuilding import rebuild_routed
from lorkit.decompose.regions import Region
from lorkit.decompose.runs.extracted import read_expert
from lorkit.decompose.runs.listing import EXPERT_INFO
from lorkit.decompose.tasks import get_task

WEIGHTS, PROGRAM, CARD = "model.safetensors", "model.pt2", "README.md"


@dataclass(frozen=True)
class LoadedExpert(StoredNetwork):
    """An expert with verified digests.

    Attributes:
        network: Images (N, C, H, W) in [0, 1] to logits (N, classes), in eval mode.
        info: Its `expert.json`.
        manifest: Its checked manifest.
        path: Its directory.
    """

    network: Deployable
    info: ExpertInfo
    manifest: Manifest

    path: Path

    @property
    def plain(self) -> nn.Module:
        """The network alone: original classes and keys, normalised images to logits."""
        return self.network.network


def load_expert(directory: Path | str) -> LoadedExpert:
    """Read an expert, also a copied one; every file is checked against its manifest.

    Raises:
        ArtifactError: It is not an expert, is damaged, or its weights do not match its description.
    """
    path = Path(directory)
    found = read_expert(path)
    try:
        network = _build(found.info)
    except (ValueError, UsageError) as error:
        what = error if isinstance(error, UsageError) else type(error).__name__
        raise ArtifactError(
            f"{path / EXPERT_INFO} does not describe a network ({what})",
            required="an intact expert",
            fix="extract it again with --force",
        ) from None
    load_strict(network.network, load_tensors(path / WEIGHTS), path / WEIGHTS)
    return LoadedExpert(network.eval(), found.info, found.manifest, path, region=found.region, recipe=found.recipe)


def plain_network(backbone: str, *, channels: int, size: tuple[int, ...], region: Region) -> nn.Module:
    """Build a plain network with fresh weights: a backbone with a region's head, original classes and keys."""
    task = get_task(region.task)
    body = build_backbone(backbone, channels=channels, image_size=size, dense=task.dense)
    head = new_head(body, task.outputs(region), maps=task.dense)
    return attach_head(with_own_output(body, dense=task.dense), head)


def fresh_network(info: ExpertInfo) -> nn.Module:
    """Build the network that an expert's description states, with fresh weights; its images are normalised.

    Raises:
        UsageError: It describes none.
    """
    image, region = info.image, info.as_region()
    size = tuple(image.size)
    plain = plain_network(info.backbone, channels=image.channels, size=size, region=region)
    return plain if info.gated_layers is None else rebuild_routed(plain, info.gated_layers, (image.channels, *size))


def _build(info: ExpertInfo) -> Deployable:
    return Deployable(fresh_network(info), mean=info.normalise.mean, std=info.normalise.std)
