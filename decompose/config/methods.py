"""The sections of `decompose.yaml` for methods."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lorkit.decompose.config.base import Count, Fraction, NonNegative, Positive, Section

Layer = Literal["grid", "pooled"]
"""What two networks are compared by: the grid of their last stage, or their pooled features."""
OF_FOUNDATION = ("finetune", "linear-probe", "lora")
"""Methods that deploy the foundation's own network, adapted; the others deploy the student's."""


class KdConfig(Section):
    """One distillation term: its weight in the loss and the temperature of its softmax."""

    weight: NonNegative = 1.0
    temperature: Positive = 4.0


class LorkdConfig(Section):
    """LoRKD: rank and scale of the experts, factor layout, norm policy and distillation terms.

    `factor_lr_ratio` times `train.lr` is the learning rate of the factors.
    """

    rank: Count = 8
    ranks: dict[str, Count] = Field(default_factory=dict)
    alpha: Positive = 16.0
    layout: Literal["conv", "reshape"] = "conv"
    norm: Literal["shared", "statistics", "region"] = "region"
    depthwise: bool = False
    strategy: str = "auto"
    strategies: dict[str, str] = Field(default_factory=dict)
    select_min_channels: Annotated[int, Field(ge=0)] = 0
    feature_kd: KdConfig = KdConfig(weight=1.0, temperature=4.0)
    logit_kd: KdConfig = KdConfig(weight=1.0, temperature=2.0)
    factor_lr_ratio: Positive = 1.0
    factor_weight_decay: NonNegative = 0.0


class AlignmentConfig(Section):
    """The term -CKA: weight and estimator."""

    weight: NonNegative = 1.0
    estimator: Literal["biased", "unbiased"] = "biased"


class CkaConfig(AlignmentConfig):
    """The alignment term: weight, estimator, and whether the reprogrammed features are a constant target.

    `view` selects the samples of the alignment (`cka.views`): `auto` is images (`gap`) for classification and positions
    of all images (`token`) for dense tasks.
    """

    detach: bool = False
    view: Literal["auto", "gap", "flatten", "token", "patch-image"] = "auto"


class RdConfig(Section):
    """RD and DRD: weights of the terms added to the student's loss; `hybrid` and `kd` decay to `decay_end`.

    `hidden` is the width of the reprogrammers, by default that of the student; `kd_detach` stops the gradient of `kd`
    in the reprogrammed logits. For DRD only: whether the terms of the `stages` are summed or averaged, the mode of the
    student's batch norms in hybrid passes (`bn_policy`, see `methods.reprogramming.batch_norms`), and the source of a
    U-Net's `skips` in them (see `models.backbones.stage_adapters.injection_context`).
    """

    hybrid: NonNegative = 1.0
    kd: KdConfig = KdConfig(weight=1.0, temperature=1.0)
    kd_detach: bool = True
    cka: CkaConfig = CkaConfig()
    decay: Literal["linear", "constant"] = "linear"
    decay_end: Fraction = 0.0
    hidden: Count | None = None
    stages: Literal["sum", "mean"] = "sum"
    bn_policy: Literal["no_update", "separate", "eval", "shared"] = "no_update"
    skips: Literal["student", "reprogrammed", "zero"] = "student"


class FitnetConfig(Section):
    """FitNet: weight of the hint, and its target: the last stage's `grid`, or the `pooled` features."""

    weight: NonNegative = 1.0
    layer: Layer = "grid"


class RkdConfig(Section):
    """RKD: weights of the distance-wise and the angle-wise terms."""

    distance: NonNegative = 25.0
    angle: NonNegative = 50.0


class SpConfig(Section):
    """SP: its weight, and the features whose similarities are compared: the last stage's `grid`, or `pooled`."""

    weight: NonNegative = 3000.0
    layer: Layer = "grid"


class DistConfig(Section):
    """DIST: weights of the correlations within samples and within classes, and the temperature of both."""

    inter: NonNegative = 2.0
    intra: NonNegative = 2.0
    temperature: Positive = 1.0


class LoraConfig(Section):
    """LoRA on the foundation: rank of the factors; their scale is alpha / rank."""

    rank: Count = 8
    alpha: Positive = 16.0
