"""The sections of `decompose.yaml` for methods."""

from __future__ import annotations

import fnmatch
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field

from lorkit.decompose.config.base import Fraction, NonNegative, Positive, Rank, Section, Temperature, Width

FactorLayout = Literal["conv", "reshape"]
NormPolicy = Literal["shared", "statistics", "region"]
InjectedNorms = Literal["no_update", "separate", "eval", "shared"]
InjectedSkips = Literal["student", "reprogrammed", "zero"]
Layer = Literal["grid", "pooled"]
"""Compared outputs of two networks: the grid of their last stage, or their pooled features."""
OF_FOUNDATION = ("finetune", "linear-probe", "lora")
"""Methods that deploy the adapted foundation; the others deploy the student."""


def _switch(value: object) -> object:
    """Read YAML's `off`, which is the boolean false."""
    return "off" if value is False else value


ByRegion = Annotated[Literal["off", "auto"], BeforeValidator(_switch)]
"""Whether the terms of a teacher that is weaker than its student are weighted less, by region."""


class KdConfig(Section):
    """One distillation term: its weight in the loss and the temperature of its softmax."""

    weight: NonNegative = 1.0
    temperature: Temperature = 4.0


class LogitKdConfig(KdConfig):
    """A term on logits; `standardise` first gives those of each sample mean 0 and standard deviation 1."""

    standardise: bool = False


class KdSection(LogitKdConfig):
    """KD; with `kd_by_region: auto` its term is weighted as in `lorkd`."""

    kd_by_region: ByRegion = "off"


class DistConfig(Section):
    """DIST: weights of the correlations within samples and within classes, and the temperature of both.

    They compare the unchanged logits: `standardise` of another term does not concern them.
    """

    inter: NonNegative = 2.0
    intra: NonNegative = 2.0
    temperature: Temperature = 1.0


NO_DIST = DistConfig(inter=0.0, intra=0.0)
"""The terms of DIST where they are off unless asked for."""


class ExpertConfig(Section):
    """How `add_experts_` adapts a network.

    Attributes:
        rank: Rank of the factors of regions that are not in `ranks`.
        ranks: Rank by region; regions with much data may need more.
        alpha: The update is scaled by alpha / rank, so its size does not depend on the rank.
        layout: `conv` is a k x k convolution to `rank` channels followed by a 1 x 1 one (two small convolutions added
            to the shared one). `reshape` is the papers' (O*k, r*k) @ (r*k, I*k) product viewed as a kernel (rank up to
            r*k^2; needs merged weights; for the authors' checkpoints).
        norm: Batch norms: `shared` for all regions, `statistics` with running statistics per region and a shared affine
            map, or `region` for one norm per region.
        shared_norms: Batch norms, by name or pattern, that stay shared under `statistics` and `region`. By default
            those with fewer than 16 values per statistic: samples of a region in a batch times positions of the grid.
            They are chosen before training and stored with the run.
        depthwise: Give grouped convolutions a full update per region; the papers leave them shared.
        transposed: Give transposed convolutions experts, by which most U-Nets upsample.
        decoder_rank_factor: Ranks of the layers of a U-Net's decoder are max(1, round(rank * factor)), for each region.
        strategy: How every layer computes: `auto` uses the cost model at each input shape.
        strategies: Strategy by layer name or pattern such as `layer1.*`; the first match counts.
    """

    rank: Rank = 8
    ranks: dict[str, Rank] = Field(default_factory=dict)
    alpha: Positive = 16.0
    layout: FactorLayout = "conv"
    norm: NormPolicy = "region"
    shared_norms: tuple[str, ...] | None = None
    depthwise: bool = False
    transposed: bool = True
    decoder_rank_factor: Annotated[float, Field(gt=0, le=64, allow_inf_nan=False)] = 1.0
    strategy: str = "auto"
    strategies: dict[str, str] = Field(default_factory=dict)

    def rank_of(self, region: str) -> int:
        """Return the rank of a region's factors."""
        return self.ranks.get(region, self.rank)

    def scale_of(self, region: str) -> float:
        """Return alpha / rank of a region."""
        return self.alpha / self.rank_of(region)

    def of_decoder(self) -> Self:
        """Return the settings of a decoder's layers, with their ranks; alpha / rank is that of these ranks."""
        factor = self.decoder_rank_factor
        ranks = {region: max(1, round(rank * factor)) for region, rank in self.ranks.items()}
        return self.model_copy(update={"rank": max(1, round(self.rank * factor)), "ranks": ranks})

    def keeps_shared(self, norm: str) -> bool:
        """Return whether the statistics of a batch norm stay shared."""
        shared = self.shared_norms or ()
        return self.norm == "shared" or any(fnmatch.fnmatchcase(norm, pattern) for pattern in shared)

    def strategy_of(self, layer: str) -> str:
        """Return the configured strategy of a layer."""
        return next((name for key, name in self.strategies.items() if fnmatch.fnmatchcase(layer, key)), self.strategy)


class TrainedExpertsConfig(ExpertConfig):
    """Experts in training: layers with at least `select_min_channels` input channels have them.

    `factor_lr_ratio` times `train.lr` is the learning rate of the factors.
    """

    select_min_channels: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    factor_lr_ratio: Positive = 1.0
    factor_weight_decay: NonNegative = 0.0


class LorkdConfig(TrainedExpertsConfig):
    """LoRKD: its experts and its distillation terms.

    With `kd_by_region: auto` the distillation terms of a region are weighted by (teacher - chance) / (student - chance)
    of the validation metric where the teacher is weaker than the student. `probe_logits` also teaches the logits of
    linear probes, in regions for which the foundation has no head of its own. `dist` adds the correlations of DIST.
    """

    feature_kd: KdConfig = KdConfig(weight=1.0, temperature=4.0)
    logit_kd: LogitKdConfig = LogitKdConfig(weight=1.0, temperature=2.0)
    probe_logits: bool = False
    dist: DistConfig = NO_DIST
    kd_by_region: ByRegion = "off"


class TwdConfig(Section):
    """Task-wise decorrelation of MoLA-Router: samples of a region get similar gates, those of others different ones.

    `target` is what is compared: the `gates`, their `logits`, or a `projected` form of the logits (`width` numbers, a
    trained linear map), as in the released code. `tau` is the temperature of the similarities.
    """

    weight: NonNegative = 0.1
    tau: Temperature = 1.0
    target: Literal["gates", "logits", "projected"] = "projected"
    width: Width = 32


class MolaConfig(TrainedExpertsConfig):
    """MoLA: adapters trained with the backbone, and the router of `mola-router`; `ranks` and `norm` are of `mola-grad`.

    Attributes:
        norm: As for `add_experts_`; shared by default, as in the paper.
        adapters: Number of adapters of `mola-router`; by default one per region. `mola-grad` has one per region.
        router: What decides the gates: `features` of the backbone's first stage (whose layers then have no adapter), a
            `downscaled` image, or the `image` by a ResNet-20, as in the paper.
        gates: One gate per adapter for the whole network, or one for each of its four stages.
        temperature: The gates are the softmax of the router's logits divided by it.
        top_k: Gates of all but the largest are 0; by default all are used.
        twd: Decorrelation of the gates of regions.
        region_weight: Weight of the loss of the region predictor, which chooses a head where the region is unknown.
        heads: Answer of the extracted router: the head of the predicted region (`routed`), no choice (`all-heads`), or
            the mean of all heads weighted by the probabilities of the regions (`weighted`, for equal class lists).
    """

    norm: NormPolicy = "shared"
    adapters: Annotated[int, Field(ge=1, le=1000)] | None = None
    router: Literal["features", "downscaled", "image"] = "features"
    gates: Literal["network", "stage"] = "network"
    temperature: Annotated[float, Field(ge=0.01, le=1000, allow_inf_nan=False)] = 1.0
    top_k: Annotated[int, Field(ge=1, le=1000)] | None = None
    twd: TwdConfig = TwdConfig()
    region_weight: NonNegative = 1.0
    heads: Literal["routed", "all-heads", "weighted"] = "routed"


class MmoeConfig(Section):
    """MMoE: the number of encoders, each a whole student, that all regions share."""

    experts: Annotated[int, Field(ge=2, le=99)] = 3


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
    """RD and DRD: weights of the terms added to the student's loss; `hybrid`, `kd` and `dist` may decay to `decay_end`.

    `hidden` is the width of the reprogrammers, for all regions or by region; by default it follows the number of
    training images (`reprogramming.widths`). `weight_decay` is theirs, by default that of `train`. `kd_by_region`
    weighs the terms as in `lorkd`. `kd_detach` stops the gradient of `kd` in the reprogrammed logits. For DRD only:
    whether the terms of the `stages` are summed or averaged, the mode of the student's batch norms in hybrid passes
    (`bn_policy`, see `methods.reprogramming.batch_norms`), and the source of a U-Net's `skips` in them (see
    `models.backbones.stage_adapters.injection_context`).
    """

    hybrid: NonNegative = 1.0
    kd: LogitKdConfig = LogitKdConfig(weight=1.0, temperature=4.0)
    kd_by_region: ByRegion = "off"
    dist: DistConfig = NO_DIST
    kd_detach: bool = True
    cka: CkaConfig = CkaConfig()
    decay: Literal["linear", "constant"] = "constant"
    decay_end: Fraction = 0.0
    hidden: Width | dict[str, Width] | None = None
    weight_decay: NonNegative | None = None
    stages: Literal["sum", "mean"] = "sum"
    bn_policy: InjectedNorms = "no_update"
    skips: InjectedSkips = "student"


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


class SkdConfig(Section):
    """SKD: weights of the divergence at each place and of the similarities of places; its temperature.

    `nodes` is the number of places along each axis whose similarities are compared.
    """

    pixel: NonNegative = 10.0
    pair: NonNegative = 10.0
    temperature: Temperature = 1.0
    nodes: Annotated[int, Field(ge=2, le=64)] = 8


class CwdConfig(Section):
    """CWD: its weight, and the temperature of the softmax over the places of a channel."""

    weight: NonNegative = 3.0
    temperature: Temperature = 4.0


class LoraConfig(Section):
    """LoRA on the foundation: rank of the factors; their scale is alpha / rank."""

    rank: Rank = 8
    alpha: Positive = 16.0
