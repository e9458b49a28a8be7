"""The section of `decompose.yaml` for the foundation model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from lorkit.decompose.config.base import Epochs, Finite, Positive, Rate, Section, Side, as_list, as_square


class FoundationImage(Section):
    """Image settings of the foundation; omitted keys are those of `image`."""

    size: Annotated[tuple[Side, ...], BeforeValidator(as_square)] | None = None
    channels: Literal[1, 3] | None = None
    mean: tuple[Finite, ...] | None = None
    std: tuple[Positive, ...] | None = None

    @model_validator(mode="after")
    def _bounded(self) -> FoundationImage:
        if self.size is not None and not (len(self.size) in (2, 3) and min(self.size) >= 8 and max(self.size) <= 4096):
            raise ValueError("two or three sides between 8 and 4096 pixels")
        if (self.mean is None) != (self.std is None) or len(self.mean or ()) != len(self.std or ()):
            raise ValueError("mean and std together, one value per channel")
        return self


class FinetuneConfig(Section):
    """Fine-tuning of the foundation's weights on all of its regions, before it teaches.

    `lr`, and all else of the loop, is that of `train` by default; `freeze_epochs` and `layer_decay` mean what they do
    there, for the foundation alone.
    """

    epochs: Epochs
    lr: Rate | None = None
    freeze_epochs: Annotated[int, Field(ge=0, le=100_000)] = 0
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None

    @model_validator(mode="after")
    def _not_frozen_for_longer(self) -> FinetuneConfig:
        if self.freeze_epochs > self.epochs:
            raise ValueError(f"finetune.freeze_epochs up to finetune.epochs ({self.epochs}), not {self.freeze_epochs}")
        return self


class FoundationConfig(Section):
    """The teacher: a backbone with the user's weights, pre-trained if `weights` is null, or an ONNX file.

    With `finetune` the weights are trained on all regions before they teach; without it they stay as they are.
    `image` overrides the image settings of the student. For an ONNX file `features` names the tensors of its stages and
    `pooled` the tensor of its pooled features (default: the last stage, averaged).
    """

    backbone: str = "resnet50"
    weights: str | None = None
    key_map: dict[str, str | None] | None = None
    regions: Literal["all"] | tuple[str, ...] = "all"
    epochs: Epochs | None = None
    finetune: FinetuneConfig | None = None
    image: FoundationImage | None = None
    features: Annotated[tuple[str, ...], BeforeValidator(as_list)] = ()
    pooled: str | None = None

    @property
    def is_onnx(self) -> bool:
        """Whether the weights are an ONNX file."""
        return self.weights is not None and self.weights.endswith(".onnx")

    @model_validator(mode="after")
    def _one_source(self) -> FoundationConfig:
        named = bool(self.features) or self.pooled is not None
        if named and not self.is_onnx:
            raise ValueError("foundation.features and foundation.pooled with an ONNX file as foundation.weights only")
        if self.is_onnx and not named:
            raise ValueError("foundation.features or foundation.pooled, naming tensors of the ONNX file")
        if self.key_map and self.weights is None:
            raise ValueError("no foundation.key_map without foundation.weights, whose keys it maps")
        if self.is_onnx and self.key_map is not None:
            raise ValueError("no foundation.key_map with an ONNX file, which has its own weights")
        if self.finetune is not None and self.weights is None:
            raise ValueError("foundation.weights to fine-tune; a foundation without them is pre-trained on all regions")
        if self.finetune is not None and self.is_onnx:
            raise ValueError("no foundation.finetune with an ONNX file, which torch cannot train")
        return self
