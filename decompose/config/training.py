"""The section of `decompose.yaml` for the training loop and the changes of training images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lorkit.decompose.config.base import Count, Epochs, Fraction, NonNegative, Positive, Rate, Section

Balancer = Literal["sum", "pcgrad", "cagrad", "aligned-mtl", "upgrad", "nash-mtl"]


class RandomConfig(Section):
    """Random operations on each training image: how many, and their magnitude in (0, 1]."""

    operations: Annotated[int, Field(ge=1, le=8)] = 2
    magnitude: Annotated[float, Field(gt=0, le=1)] = 0.5


class AugmentConfig(Section):
    """Random changes of training images: mirror, shift (fraction), rotate (degrees), scale, intensity (fractions).

    Resampling blurs, so only a `share` of the images is shifted, rotated and scaled: a network trained only on
    resampled images is less accurate on original ones. `random` adds random operations to all images: rotation, scale,
    shift, gamma, contrast, brightness, noise and sharpness, never a flip. `views` is the number of augmented versions
    of an image, used in turn; without it every pass draws a new one.
    """

    flip: bool = True
    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    shift: Fraction = 0.06
    rotate: Annotated[float, Field(ge=0, le=180)] = 8.0
    scale: Fraction = 0.08
    intensity: Fraction = 0.1
    random: RandomConfig | None = None
    views: Annotated[int, Field(ge=1, le=10_000)] | None = None


class TrainConfig(Section):
    """The training loop: budget, optimiser, schedule, precision, devices, and options that save memory or time.

    `patience` stops after so many epochs without a better validation score; the schedule remains that of `epochs`.
    `min_steps` lengthens the epochs of little data until the training has this number of optimiser steps; schedule,
    warm-up, validation and checkpoints still follow epochs. `accumulate` splits a batch into micro-batches, `ema`
    validates and saves averaged weights, `balancer` combines the regions' gradients on shared weights, `log_conflict`
    is the interval in epochs at which their cosines are measured. `layer_decay` multiplies the rate of the backbone's
    last stage once, of its first stage and stem four times; `freeze_epochs` trains the rest alone in the first epochs.
    Both are for networks that start from trained weights. `logit_adjustment` is tau of the logit-adjusted
    cross-entropy. Pre-training uses none of the three. `foreground` is the share of the windows of volumes, where a
    region has a spacing, that are drawn around a structure; the others lie anywhere.
    """

    epochs: Epochs = 20
    patience: Epochs | None = None
    min_steps: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    batch_size: Annotated[int, Field(ge=2, le=1_000_000)] = 64
    # after two epochs on five real regions: AdamW 0.001 0.746, SGD 0.05 0.683 (docs/benchmarks/teaching.md)
    optimizer: Literal["sgd", "adamw"] = "adamw"
    lr: Rate = 0.001
    momentum: Fraction = 0.9
    weight_decay: NonNegative = 0.05
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: NonNegative = 1.0
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    freeze_epochs: Annotated[int, Field(ge=0, le=100_000)] = 0
    clip_norm: Positive | None = None
    accumulate: Count = 1
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    balancer: Balancer = "sum"
    log_conflict: Annotated[int, Field(ge=0, le=100_000)] = 0
    label_smoothing: Fraction = 0.0
    logit_adjustment: Positive | None = None
    sampling: Literal["balanced", "sqrt", "proportional"] = "sqrt"
    augment: AugmentConfig | None = AugmentConfig()
    foreground: Annotated[float, Field(ge=0, le=1)] = 0.5
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    compile: bool = False
    checkpointing: bool = False
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    devices: Annotated[int, Field(ge=1, le=1024)] = 1
    num_nodes: Annotated[int, Field(ge=1, le=1024)] = 1
    strategy: Literal["auto", "ddp"] = "auto"

    @model_validator(mode="after")
    def _fitting(self) -> TrainConfig:
        if self.batch_size < 2 * self.accumulate:
            raise ValueError(f"train.batch_size {2 * self.accumulate} or more for train.accumulate {self.accumulate}")
        if self.freeze_epochs > self.epochs:
            raise ValueError(f"train.freeze_epochs up to train.epochs ({self.epochs}), not {self.freeze_epochs}")
        if self.compile and self.checkpointing:
            raise ValueError("train.compile or train.checkpointing, not both")
        return self
