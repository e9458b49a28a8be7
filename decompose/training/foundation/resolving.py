"""Resolve the source of a foundation and its image settings, before any data is read.

`resolve_foundation` writes what the source states (a directory of `pretrain`, a timm model, a user's teacher) into the
configuration, so that all later steps and the stored run have it in one place.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from lorkit.decompose.artifacts import MANIFEST, digest_file
from lorkit.decompose.config import Config
from lorkit.decompose.config.foundation import FoundationImage
from lorkit.decompose.config.schema import ImageConfig
from lorkit.decompose.config.student import FROM_TIMM
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.events import Listener, Notice
from lorkit.decompose.methods import HasAdapter, get_method
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.models.backbones.timm_cache import cached_timm_weights
from lorkit.decompose.models.backbones.timm_models import TIMM, timm_normalisation
from lorkit.decompose.models.foundation.model import Foundation, foundation_document, load_foundation
from lorkit.decompose.models.foundation.teacher import TEACHER, Teacher, TeacherBackbone, teacher_name
from lorkit.decompose.models.foundation.user_weights import load_user_weights
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.tasks import dense_outputs


def resolve_foundation(config: Config, teacher: Teacher | None = None) -> Config:
    """Return the configuration with the foundation's own image settings, and with a teacher's name as its backbone.

    Raises:
        UsageError: A teacher and another foundation, an ONNX file or a recorded teacher without the teacher, one of
            another digest, image settings that differ from the foundation's, or weights of timm that are not cached.
        ArtifactError: The directory in `foundation.weights` is not a foundation.
    """
    if teacher is not None:
        return _with_teacher(config, teacher)
    if config.foundation.weights == FROM_TIMM:
        path = cached_timm_weights(config.foundation.backbone, "foundation.weights")
        config = _updated(config, {"weights": str(path)})
    given = config.foundation
    if given.is_onnx or given.backbone.startswith(TEACHER):
        what = str(given.weights) if given.is_onnx else f"foundation.backbone {given.backbone}, a module of the user's"
        raise UsageError(
            f"{what} without the teacher itself",
            required="train(config, teacher=...)",
            fix="for an ONNX file use the command line, or lorkit.export.onnx.teacher.open_teacher(config)",
        )
    if given.weights is not None and Path(given.weights).is_dir():
        own = ImageConfig.model_validate(dict(foundation_document(Path(given.weights))["image"]))
        return _require_same_image(config, own, f"the foundation {given.weights}")
    if given.backbone.startswith(TIMM) and (given.image is None or given.image.mean is None):
        image = config.foundation_image
        found = timm_normalisation(given.backbone, image.channels)
        return _with_image(config, image.model_copy(update=found))
    return config


def _with_teacher(config: Config, teacher: Teacher) -> Config:
    given, name = config.foundation, teacher_name(teacher)
    if given.weights is not None and not given.is_onnx:
        raise UsageError(
            f"a teacher, and foundation.weights {given.weights}",
            required="one foundation",
            fix="leave foundation.weights out",
        )
    if given.backbone.startswith(TEACHER) and given.backbone != name:
        raise UsageError(
            f"a teacher of digest {teacher.digest[:16]} where foundation.backbone is {given.backbone}",
            required="the teacher that the configuration was made with",
            fix="restore its weights, or leave foundation.backbone out",
        )
    method = get_method(config.method)
    if method.starts_from_foundation or isinstance(method, HasAdapter):
        raise UsageError(
            f"method {config.method} with a teacher that is not a backbone of this project",
            required="a method that trains a student, such as rd, drd or lorkd",
            fix="choose another method, or name foundation.backbone and foundation.weights",
        )
    seen = _require_same_image(config, teacher.image, "the teacher")
    return _updated(seen, {"backbone": name})


def _require_same_image(config: Config, own: ImageConfig, what: str) -> Config:
    """Return the configuration with a foundation's own image settings; refuse stated ones that differ."""
    stated = config.foundation.image
    if len(own.size) != len(config.image.size):
        raise UsageError(
            f"{what} has images of {len(own.size)} axes, image.size has {len(config.image.size)}",
            required="images with the number of axes of the teacher",
            fix="use another foundation, or change image.size",
        )
    for key, value in ({} if stated is None else stated.model_dump(exclude_none=True)).items():
        if getattr(own, key) != value:
            raise UsageError(
                f"foundation.image.{key} is {_text(value)}, {what} has {_text(getattr(own, key))}",
                required="the image size and channels of the foundation",
                fix="remove foundation.image: the foundation states its own",
            )
    return _with_image(config, own)


def _with_image(config: Config, image: ImageConfig) -> Config:
    if image == config.image:
        return _updated(config, {"image": None})
    if image.nodes:
        raise UsageError(
            f"nodes of shape {_text((image.channels, *image.size))} for the foundation",
            required=f"those of the data, {_text((config.image.channels, *config.image.size))}",
            fix="use a foundation of graphs with the same classes, relations and features",
        )
    return _updated(config, {"image": FoundationImage.model_validate(image.model_dump(exclude={"nodes"}))})


def _updated(config: Config, update: dict[str, Any]) -> Config:
    changed = config.model_copy(update={"foundation": config.foundation.model_copy(update=update)})
    changed._base = config.base
    return changed


def _text(value: Any) -> str:
    return " x ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def new_foundation(config: Config, regions: RegionSet) -> Foundation:
    """Build the foundation's backbone with fresh weights and a linear head for each region."""
    return Foundation(
        model=shared_network(config, config.foundation.backbone, regions, image=config.foundation_image),
        backbone=config.foundation.backbone,
        regions=regions,
        heads=dict.fromkeys(regions.names, "own"),
        image=config.foundation_image.model_dump(mode="json"),
    )


def foundation_from_teacher(teacher: Teacher, config: Config, regions: RegionSet) -> Foundation:
    """Return a teacher as a foundation without heads."""
    image = config.foundation_image
    model = RegionalModel(TeacherBackbone(teacher), regions, mean=image.mean, std=image.std)
    return Foundation(
        model=model.eval(),
        backbone=teacher_name(teacher),
        regions=RegionSet([]),
        heads={},
        image=image.model_dump(mode="json"),
        source={"teacher": teacher.digest},
    )


def load_user_foundation(config: Config, regions: RegionSet, on_event: Listener) -> Foundation:
    """Load the foundation in `foundation.weights`: a weights file, or a directory of lorkit."""
    path = Path(str(config.foundation.weights))
    if path.is_dir():
        return _earlier_foundation(config, regions, path, on_event)
    fresh = new_foundation(config, regions)
    report = load_user_weights(fresh.model.backbone, path, config.foundation.key_map)
    on_event(Notice(text=f"{path.name}: {report.summary}"))
    for head in fresh.model.heads.values():
        nn.init.zeros_(head.weight)  # type: ignore[arg-type]
    source = {"weights": digest_file(path), "report": report.summary}
    return replace(fresh, regions=RegionSet([]), heads={}, source=source)


def match_weights(config: Config, regions: RegionSet) -> str | None:
    """Say how a weights file fits the backbone; None where `foundation.weights` is none.

    Raises:
        ArtifactError: It does not fit, or cannot be read.
    """
    path = Path(str(config.foundation.weights))
    if config.foundation.weights is None or config.foundation.is_onnx or path.is_dir():
        return None
    backbone = new_foundation(config, regions).model.backbone
    return load_user_weights(backbone, path, config.foundation.key_map).summary


def _earlier_foundation(config: Config, regions: RegionSet, path: Path, on_event: Listener) -> Foundation:
    """Load a foundation of lorkit with its heads for regions with the same classes."""
    found = load_foundation(path)
    if found.backbone != config.foundation.backbone:
        raise ArtifactError(
            f"the foundation {path} has {found.backbone} where foundation.backbone is {config.foundation.backbone}",
            required="the same in both",
            fix=f"set foundation.backbone to {found.backbone}, or name another foundation",
        )
    source = {**found.source, "manifest": digest_file(path / MANIFEST)}
    if dense_outputs(regions) and not dense_outputs(found.regions):
        on_event(Notice(text=f"foundation {path}: a classifier; masks come from probes on its stages"))
    same = [one for one in found.regions if one.name in regions.names and _same_classes(regions.get(one.name), one)]
    kept = {one.name: found.heads[one.name] for one in same}
    on_event(Notice(text=f"foundation {path}: {len(found.model.state_dict())} tensors, heads of {', '.join(kept)}"))
    return replace(found, regions=RegionSet(same), heads=kept, source=source)


def _same_classes(one: Region, two: Region) -> bool:
    return (one.task, one.classes) == (two.task, two.classes)
