"""The foundation model on disk: a regional model without experts, its weights and where they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lorkit.decompose.artifacts import (
    SCHEMA_VERSION,
    Manifest,
    load_tensors,
    read_json,
    read_manifest,
    save_tensors,
    write_json,
    write_manifest,
)
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.models.backbones import build_backbone
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.models.weights import MatchReport, load_user_weights
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.tasks import dense_outputs

__all__ = ["Foundation", "MatchReport", "load_foundation", "load_user_weights", "narrowed", "save_foundation"]

_DOCUMENT, _WEIGHTS = "foundation.json", "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class Foundation:
    """A large pre-trained network and the heads that it has.

    Attributes:
        model: Backbone and heads, without experts.
        backbone: Its name in the registry.
        regions: The regions that have a head.
        heads: By region, `own` where the head was trained with the network, `probe` where it was fitted on frozen
            features.
        image: `size`, `channels`, `mean` and `std` of its input.
        source: Plain data on where the weights came from.
    """

    model: RegionalModel
    backbone: str
    regions: RegionSet
    heads: Mapping[str, str]
    image: Mapping[str, Any]
    source: Mapping[str, Any] = field(default_factory=dict)


def narrowed(foundation: Foundation, regions: RegionSet) -> Foundation:
    """Return the same foundation, weights shared, that knows some of its regions only, in the order given.

    A phase numbers its own regions from 0; a teacher that numbered others would answer with another region's head.

    Raises:
        UsageError: It has no head for a region.
    """
    if regions.names == foundation.regions.names:
        return foundation
    for name in regions.names:
        foundation.regions.index(name)
    source = foundation.model
    mean, std = (value.tolist() for value in (source.normalise.mean, source.normalise.std))
    model = RegionalModel(source.backbone, regions, mean=mean, std=std)
    for name in regions.names:
        model.heads[name] = source.heads[name]
    heads = {name: foundation.heads[name] for name in regions.names}
    return replace(foundation, model=model.train(source.training), regions=regions, heads=heads)


def save_foundation(
    foundation: Foundation, directory: Path, *, synthetic: bool, inputs: str, parent: Path | None = None
) -> Manifest:
    """Write a foundation model into a directory and seal it with a manifest."""
    directory.mkdir(parents=True, exist_ok=True)
    save_tensors(directory / _WEIGHTS, foundation.model.state_dict())
    document = {
        "schema_version": SCHEMA_VERSION,
        "kind": "foundation",
        "warnings": [],
        "backbone": foundation.backbone,
        "regions": foundation.regions.to_json(),
        "heads": dict(foundation.heads),
        "image": {key: list(value) if isinstance(value, tuple) else value for key, value in foundation.image.items()},
        "source": dict(foundation.source),
    }
    write_json(directory / _DOCUMENT, document)
    return write_manifest(directory, "foundation", synthetic=synthetic, inputs=inputs, parent=parent)


def load_foundation(directory: Path) -> Foundation:
    """Read a foundation model, checked against its manifest, in eval mode.

    Raises:
        ArtifactError: A file is missing, changed, or does not describe the network that the weights belong to.
    """
    read_manifest(directory, kind="foundation")
    document = read_json(directory / _DOCUMENT, kind="foundation")
    try:
        image = dict(document["image"])
        regions = RegionSet.from_json(document["regions"])
        backbone = build_backbone(
            document["backbone"],
            channels=image["channels"],
            image_size=tuple(image["size"]),
            dense=dense_outputs(regions),
        )
        model = RegionalModel(backbone, regions, mean=image["mean"], std=image["std"])
        foundation = Foundation(
            model=model,
            backbone=document["backbone"],
            regions=regions,
            heads=dict(document["heads"]),
            image=image,
            source=dict(document["source"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ArtifactError(
            f"{directory / _DOCUMENT} lacks its fields ({type(error).__name__})",
            required="an intact foundation model",
            fix="pretrain again",
        ) from None
    load_strict(model, load_tensors(directory / _WEIGHTS), directory / _WEIGHTS)
    model.eval()
    return foundation


def load_strict(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Fill a model with exactly its tensors, in place.

    Raises:
        ArtifactError: A tensor is missing, unexpected, or of another shape or type.
    """
    own = model.state_dict()
    wrong = sorted(own.keys() ^ tensors.keys())
    if not wrong:
        wrong = [
            key for key, value in tensors.items() if (value.shape, value.dtype) != (own[key].shape, own[key].dtype)
        ]
    if wrong:
        raise ArtifactError(
            f"{path} does not fit its description: {len(wrong)} tensors differ, as '{wrong[0]}'",
            required="the weights that were written with it",
            fix="rebuild the artifact",
        )
    model.load_state_dict(dict(tensors), strict=True)
