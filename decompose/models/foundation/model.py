"""The foundation model on disk: a regional model without experts, and the source of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lorkit.decompose import artifacts
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.models.backbones.outputs import without_idle_decoder
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.foundation.teacher import TEACHER, Teacher, TeacherBackbone, weights_digest
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.tasks import dense_outputs

_DOCUMENT, _WEIGHTS, _BACKBONE = "foundation.json", "model.safetensors", "backbone."
NOT_EXPORTABLE = "The foundation is the user's own teacher. It is not exported, so the gate has no baseline of it."


@dataclass(frozen=True, kw_only=True)
class Foundation:
    """A large pre-trained network with heads.

    Attributes:
        model: Backbone and heads, without experts.
        backbone: Its name in the registry.
        regions: The regions that have a head.
        heads: By region, `own` if the head was trained with the network, `probe` if it was fitted on frozen features.
        image: `size`, `channels`, `mean` and `std` of its input.
        source: Plain data on the source of the weights.
    """

    model: RegionalModel
    backbone: str
    regions: RegionSet
    heads: Mapping[str, str]
    image: Mapping[str, Any]
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_teacher(self) -> bool:
        """Whether it is a user's module or an ONNX file, which artifacts do not contain and targets cannot export."""
        return self.backbone.startswith(TEACHER)

    @cached_property
    def digest(self) -> str:
        """Digest of its weights: that stated by a teacher, else of the backbone's weights."""
        return str(self.source["teacher"]) if self.is_teacher else weights_digest(self.model.backbone)


def with_regions(foundation: Foundation, regions: RegionSet) -> Foundation:
    """Return the foundation, with shared weights, for some of its regions in the given order.

    Phases number their regions from 0, and the teacher must use the same numbers.

    Raises:
        UsageError: It has no head for a region.
    """
    if regions.names == foundation.regions.names:
        return foundation
    for name in regions.names:
        foundation.regions.index(name)
    heads = {name: foundation.heads[name] for name in regions.names}
    model = on_same_backbone(foundation.model, regions, {name: foundation.model.heads[name] for name in heads})
    return replace(foundation, model=model, regions=regions, heads=heads)


def on_same_backbone(source: RegionalModel, regions: RegionSet, heads: Mapping[str, nn.Module]) -> RegionalModel:
    """Return a model that shares the backbone and has the given heads; regions without one get a fresh head.

    Raises:
        UsageError: The backbone is a U-Net without its decoder, and a region has masks.
    """
    mean, std = (value.tolist() for value in (source.normalise.mean, source.normalise.std))
    backbone = without_idle_decoder(source.backbone, dense=dense_outputs(regions))
    model = RegionalModel(backbone, regions, mean=mean, std=std)
    for name, head in heads.items():
        model.heads[name] = head
    return model.train(source.training)


def save_foundation(foundation: Foundation, directory: Path, *, synthetic: bool, inputs: str) -> artifacts.Manifest:
    """Write a foundation model and its manifest into a directory.

    For a teacher without a backbone of this project only the heads and its digest are written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tensors = foundation.model.state_dict()
    if foundation.is_teacher:
        tensors = {key: value for key, value in tensors.items() if not key.startswith(_BACKBONE)}
    artifacts.save_tensors(directory / _WEIGHTS, tensors)
    document = {
        "schema_version": artifacts.SCHEMA_VERSION,
        "kind": "foundation",
        "warnings": [NOT_EXPORTABLE] if foundation.is_teacher else [],
        "backbone": foundation.backbone,
        "regions": foundation.regions.to_json(),
        "heads": dict(foundation.heads),
        "image": {key: list(value) if isinstance(value, tuple) else value for key, value in foundation.image.items()},
        "source": dict(foundation.source),
    }
    artifacts.write_json(directory / _DOCUMENT, document)
    extra = {"exportable": False, "reason": NOT_EXPORTABLE} if foundation.is_teacher else {}
    return artifacts.write_manifest(directory, "foundation", synthetic=synthetic, inputs=inputs, extra=extra)


def foundation_document(directory: Path) -> dict[str, Any]:
    """Return the description of a foundation, checked against its manifest; ArtifactError if it is damaged."""
    artifacts.read_manifest(directory, kind="foundation")
    document = artifacts.read_json(directory / _DOCUMENT, kind="foundation")
    if not isinstance(document.get("image"), dict) or not isinstance(document.get("backbone"), str):
        raise _broken(directory, "image or backbone")
    return document


def load_foundation(directory: Path, teacher: Teacher | None = None) -> Foundation:
    """Read a foundation model, checked against its manifest, in eval mode.

    `teacher` is its network if that is the user's own, which artifacts do not contain.

    Raises:
        ArtifactError: A file is missing, changed, or does not describe the network of the weights.
        UsageError: It needs a teacher, or another one.
    """
    document = foundation_document(directory)
    try:
        image = dict(document["image"])
        regions = RegionSet.from_json(document["regions"])
        backbone = _backbone(document, image, directory, teacher, dense=dense_outputs(regions))
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
        raise _broken(directory, type(error).__name__) from None
    tensors = artifacts.load_tensors(directory / _WEIGHTS)
    if foundation.is_teacher:
        own = model.state_dict()
        tensors |= {key: value for key, value in own.items() if key.startswith(_BACKBONE)}
    load_strict(model, tensors, directory / _WEIGHTS)
    model.eval()
    return foundation


def _backbone(
    document: Mapping[str, Any], image: Mapping[str, Any], directory: Path, teacher: Teacher | None, *, dense: bool
) -> nn.Module:
    name = str(document["backbone"])
    if not name.startswith(TEACHER):
        return build_backbone(name, channels=image["channels"], image_size=tuple(image["size"]), dense=dense)
    if teacher is None:
        raise UsageError(
            f"the foundation of {directory} is the user's own teacher, of which the run holds only the digest",
            required="the teacher itself, for example evaluate(..., teacher=...)",
            fix="pass it, or measure the experts and the student",
        )
    if teacher.digest != document["source"]["teacher"]:
        raise UsageError(
            f"a teacher of digest {teacher.digest[:16]} for {directory}, which was made with {name}",
            required="the same weights and features",
            fix="restore that teacher",
        )
    return TeacherBackbone(teacher)


def _broken(directory: Path, what: str) -> ArtifactError:
    return ArtifactError(
        f"{directory / _DOCUMENT} lacks its fields ({what})",
        required="an intact foundation model",
        fix="pretrain again",
    )


def load_strict(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load exactly the tensors of a model, in place.

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
            f"{path} does not fit its description: {len(wrong)} tensors differ, such as '{wrong[0]}'",
            required="the weights that were written with it",
            fix="rebuild the artifact",
        )
    model.load_state_dict(dict(tensors), strict=True)
