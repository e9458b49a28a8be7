"""The section of `decompose.yaml` for the student."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import model_validator

from lorkit.decompose.artifacts.weights import digest_weights
from lorkit.decompose.config.base import Epochs, Rate, Section
from lorkit.decompose.errors import DataError, MissingDataError, refuse_special

FROM_TIMM = "timm"
"""In place of a file of weights: those that timm publishes for the backbone, from the user's cache."""
SMALL_STEM = "small-stem:"
"""Before the name of a backbone: the same with a stem for small images."""


class PredistilConfig(Section):
    """Training on the foundation's features, on the images of all regions and without labels, before the students.

    Null `epochs` is off; a null `lr` is that of `train`.
    """

    epochs: Epochs | None = None
    lr: Rate | None = None


class StudentConfig(Section):
    """The deployable backbone that all experts share.

    It starts from fresh weights, or from the published ones in the file `weights`, whose keys `key_map` renames as
    `foundation.key_map` does. `weights: timm` names those of a timm backbone in the cache of the Hugging Face hub.

    With the `stem` `small` its first convolution is 3 x 3 with stride 1 and nothing is pooled after it, for images
    below 64 pixels. With `predistil` all students start from one backbone that first learned the foundation's features.
    """

    backbone: str = "resnet18"
    stem: Literal["usual", "small"] = "usual"
    weights: str | None = None
    key_map: dict[str, str | None] | None = None
    predistil: PredistilConfig = PredistilConfig()

    @model_validator(mode="after")
    def _fitting_weights(self) -> StudentConfig:
        if self.key_map and self.weights is None:
            raise ValueError("no student.key_map without student.weights, whose keys it maps")
        if self.weights is not None and self.network.startswith(SMALL_STEM):
            raise ValueError("student.weights or student.stem small, not both: published weights have the usual stem")
        return self

    @property
    def network(self) -> str:
        """The name of the backbone with its stem, as it is built and stored."""
        small = self.stem == "small" and not self.backbone.startswith(SMALL_STEM)
        return f"{SMALL_STEM}{self.backbone}" if small else self.backbone


def student_weights_digest(student: StudentConfig) -> str | None:
    """Return the SHA-256 of the student's published weights; None without any.

    Raises:
        DataError: There is no such file.
        ArtifactError: It cannot be one of weights.
    """
    if student.weights is None:
        return None
    path = Path(student.weights)
    refuse_special(path)
    if path.is_dir():
        raise DataError(
            f"student.weights: {path} is a directory",
            required="a weights file",
            fix=f"for a directory of `decompose pretrain` name {path / 'model.safetensors'} and set "
            'student.key_map: {"backbone.": "", "normalise.": null, "heads.": null}',
        )
    if not path.is_file():
        raise MissingDataError(
            f"student.weights: no file {path}",
            required="a weights file",
            fix="correct the path, or set null to start from fresh weights",
        )
    return digest_weights(path)
