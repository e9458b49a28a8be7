"""A shared student with one low-rank expert and one head per region, as LoRKD and MoLA-Grad train it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lorkit.decompose.config import Config
from lorkit.decompose.config.methods import TrainedExpertsConfig
from lorkit.decompose.errors import UsageError, plural
from lorkit.decompose.experts import add_experts_, factor_parameters
from lorkit.decompose.experts.insertion import Select
from lorkit.decompose.experts.shared_norms import LEAST_VALUES, scarce_norms
from lorkit.decompose.methods.student import fresh_student, student_backbone
from lorkit.decompose.models.backbones.outputs import decoder_parameters
from lorkit.decompose.models.backbones.unets import UNETS
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.regions import RegionSet


def student_with_experts(config: Config, regions: RegionSet, settings: TrainedExpertsConfig) -> RegionalModel:
    """Build the student with an expert and a head for each region; raise UsageError if it cannot have experts."""
    backbone = student_backbone(config, regions)
    decoder = decoder_layers(backbone)
    routing = add_experts_(backbone, regions.names, settings, select=selected(settings), decoder=decoder)
    return RegionalModel(backbone, regions, mean=config.image.mean, std=config.image.std, routing=routing)


def selected(settings: TrainedExpertsConfig) -> Select | None:
    """Select layers with at least `select_min_channels` input channels, where an update is small beside the layer."""
    least = settings.select_min_channels
    return (lambda module, name: input_channels(module) >= least) if least else None


def input_channels(module: nn.Module) -> int:
    """Return the input channels of a convolution or linear layer."""
    return int(getattr(module, "in_channels", getattr(module, "in_features", 0)))


def decoder_layers(backbone: nn.Module) -> frozenset[str]:
    """Return the names of the layers of a backbone without experts that only maps need; none without a decoder."""
    return frozenset(name.rpartition(".")[0] for name, _ in decoder_parameters(backbone))


def check_decoder(config: Config, regions: RegionSet, section: str) -> None:
    """Raise UsageError for `decoder_rank_factor` of a student without a decoder.

    Args:
        config: Settings.
        regions: All regions.
        section: Name of the experts' section of `config`.
    """
    settings: TrainedExpertsConfig = getattr(config, section)
    if settings.decoder_rank_factor == 1.0:
        return
    with torch.device("meta"):  # names are enough, and no random number is drawn
        found = decoder_layers(fresh_student(config, regions))
    if not found:
        unet = config.student.backbone in UNETS
        raise UsageError(
            f"{section}.decoder_rank_factor {settings.decoder_rank_factor} for {config.student.backbone}"
            f"{' without a region of masks' if unet else ''}, which has no decoder",
            required=f"a student with a decoder ({', '.join(UNETS)}) and a region of masks",
            fix=f"leave {section}.decoder_rank_factor out, or set student.backbone",
        )


def shared_norms(
    config: Config, regions: RegionSet, settings: TrainedExpertsConfig, samples: int
) -> tuple[str, ...] | None:
    """Return the batch norms whose statistics by region would be of too few values, unless the user named some.

    Args:
        config: Settings.
        regions: All regions.
        settings: The experts' section of `config`.
        samples: Fewest samples of a region in a micro-batch that has any.
    """
    if settings.norm == "shared" or settings.shared_norms is not None:
        return settings.shared_norms
    with torch.device("meta"):  # shapes are enough, and no random number is drawn
        backbone = fresh_student(config, regions)
    return tuple(scarce_norms(backbone, (config.image.channels, *config.image.size), samples))


def notice_of_shared_norms(section: str, settings: TrainedExpertsConfig) -> list[str]:
    """Return a notice for batch norms that stay shared; `section` is the name of `settings` in the configuration."""
    shared = () if settings.norm == "shared" else settings.shared_norms or ()
    if not shared:
        return []
    return [
        f"the statistics of {plural(len(shared), 'batch norm')} stay shared ({', '.join(shared[:3])}"
        f"{', ...' if len(shared) > 3 else ''}): by region they would be of fewer than {LEAST_VALUES} values, "
        f"unless {section}.shared_norms is yours; a larger train.batch_size or image.size gives more"
    ]


def with_own_group(
    groups: list[dict[str, Any]], model: nn.Module, settings: TrainedExpertsConfig
) -> list[dict[str, Any]]:
    """Return optimiser groups with a separate one for the factors: own rate, by default no decay.

    Weight decay would change the experts of regions that are absent from a batch.
    """
    factors = factor_parameters(model)
    ids = {id(parameter) for parameter in factors}
    for group in groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in ids]
    own = {"weight_decay": settings.factor_weight_decay, "lr_ratio": settings.factor_lr_ratio}
    return [*groups, {"params": factors, **own}]
