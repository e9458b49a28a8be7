"""The student's backbone at the start of its training: fresh weights, or the published ones of `student.weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from lorkit.decompose.config import Config, ImageConfig
from lorkit.decompose.config.base import Section
from lorkit.decompose.config.student import FROM_TIMM, student_weights_digest
from lorkit.decompose.methods.base import Method
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.backbones.timm_cache import cached_timm_weights
from lorkit.decompose.models.backbones.timm_models import TIMM, timm_normalisation
from lorkit.decompose.models.foundation.user_weights import load_user_weights
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.tasks import dense_outputs


def with_cached_weights(config: Config) -> Config:
    """Return the configuration with the file in the cache for `student.weights: timm`.

    Raises:
        UsageError: The cache does not have it.
    """
    if config.student.weights != FROM_TIMM:
        return config
    path = cached_timm_weights(config.student.backbone, "student.weights")
    return _updated(config, "student", config.student.model_copy(update={"weights": str(path)}))


def resolve_student(config: Config) -> Config:
    """Return the configuration with the student's weights found, and the normalisation that timm's weights expect.

    The user's own normalisation stays.

    Raises:
        UsageError: The weights are to be in the cache and are not.
    """
    config = with_cached_weights(config)
    student, image = config.student, config.image
    if student.weights is None or not student.backbone.startswith(TIMM):
        return config
    plain = ImageConfig(channels=image.channels)
    if (image.mean, image.std) != (plain.mean, plain.std):
        return config
    return _updated(config, "image", image.model_copy(update=timm_normalisation(student.backbone, image.channels)))


def _updated(config: Config, name: str, section: Section) -> Config:
    changed = config.model_copy(update={name: section})
    changed._base = config.base
    return changed


def fresh_student(config: Config, regions: RegionSet) -> nn.Module:
    """Build the student's backbone for all regions, with fresh weights and without experts."""
    image, dense = config.image, dense_outputs(regions)
    return build_backbone(config.student.network, channels=image.channels, image_size=image.size, dense=dense)


def student_backbone(config: Config, regions: RegionSet) -> nn.Module:
    """Build the student's backbone for all regions, without experts, with its published weights if there are any.

    Random numbers are drawn as for fresh weights, so that what is built after it (heads, factors) is the same.

    Raises:
        ArtifactError: The weights do not fit the backbone, are damaged, or cannot be read.
    """
    backbone = fresh_student(config, regions)
    if config.student.weights is not None:
        load_user_weights(backbone, Path(config.student.weights), config.student.key_map, section="student")
    return backbone


def with_fresh_student(config: Config) -> Config:
    """Return the settings without published weights, for a network whose weights are read from an artifact."""
    if config.student.weights is None:
        return config
    return config.model_copy(update={"student": config.student.model_copy(update={"weights": None, "key_map": None})})


def match_student_weights(config: Config, method: Method, regions: RegionSet) -> str | None:
    """Say how the published weights fit the student; None without any, or if the method trains no student.

    Raises:
        ArtifactError: They do not fit, are damaged, or cannot be read.
    """
    if config.student.weights is None or method.starts_from_foundation:
        return None
    backbone, path = fresh_student(config, regions), Path(config.student.weights)
    return load_user_weights(backbone, path, config.student.key_map, section="student").summary


def student_record(config: Config, method: Method, regions: RegionSet) -> dict[str, Any]:
    """Return the source of the student's weights as plain data of a run's manifest; empty for fresh ones."""
    match = match_student_weights(config, method, regions)
    return {} if match is None else {"student": {"weights": student_weights_digest(config.student), "report": match}}


def student_notices(config: Config, method: Method) -> list[str]:
    """Return a sentence on each setting without effect: of a student that is not trained, or of trained weights.

    A method that starts from the foundation trains no student; a student with fresh weights has none to keep.
    """
    if method.starts_from_foundation:
        own = {"weights": config.student.weights, "stem small": config.student.stem == "small"}
        return [
            f"student.{key} has no effect on method {method.name}: it trains the foundation" for key in own if own[key]
        ]
    if config.student.weights is not None:
        return []
    stated = {"layer_decay": config.train.layer_decay, "freeze_epochs": config.train.freeze_epochs}
    return [
        f"train.{key} is for trained weights, and the student of method {method.name} starts from fresh ones"
        for key, value in stated.items()
        if value
    ]
