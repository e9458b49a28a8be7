"""The live model of a run: built from its configuration, written and read as safetensors."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from lorkit.decompose.artifacts import load_tensors, read_json, save_tensors
from lorkit.decompose.config import Config, load_config
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.experts import ExpertConfig, add_experts_
from lorkit.decompose.experts.insertion import Select
from lorkit.decompose.models.backbones import build_backbone
from lorkit.decompose.models.foundation import load_strict
from lorkit.decompose.models.regional import RegionalModel, SeparateModels
from lorkit.decompose.regions import RegionSet, unknown
from lorkit.decompose.tasks import dense_outputs

# one shared network however the gradients of its regions were balanced
_BALANCED = ("mtl-aligned", "mtl-cagrad", "mtl-nash", "mtl-pcgrad", "mtl-upgrad")
LIVE_METHODS = ("drd", "finetune", "linear-probe", "lora", "lorkd", "mtl", *_BALANCED, "mtl-kd", "rd", "stl", "stl-kd")
# an independent network a region; of the others all regions share one
SEPARATE = ("drd", "finetune", "lora", "rd", "stl", "stl-kd")
# the foundation's own network, adapted; the others have the student's
_OF_FOUNDATION = ("finetune", "linear-probe", "lora")
WEIGHTS = "model.safetensors"


def build_live(config: Config, regions: RegionSet) -> RegionalModel | SeparateModels:
    """Build what a method trains, with fresh weights, on the CPU.

    `lorkd` is one backbone with experts, `mtl`, `mtl-kd` and `linear-probe` one without, the others are an independent
    network a region. The backbone is the student's, or the foundation's where that is what the method adapts.

    Raises:
        UsageError: The method is unknown, or the backbone cannot carry experts.
    """
    if config.method not in LIVE_METHODS:
        raise unknown("method", config.method, LIVE_METHODS)
    if config.method == "lorkd":
        return _with_experts(config, regions)
    if config.method in SEPARATE:
        return SeparateModels({region.name: _regional(config, RegionSet([region])) for region in regions}, regions)
    return _regional(config, regions)


def deployed_backbone(config: Config) -> str:
    """Return the name of the backbone that a method deploys: the student's, or the foundation's."""
    return config.foundation.backbone if adapts_foundation(config) else config.student.backbone


def adapts_foundation(config: Config) -> bool:
    """Tell whether a method deploys the foundation's own network, as it is or trained further."""
    return config.method in _OF_FOUNDATION


def expert_config(config: Config) -> ExpertConfig:
    """Return the expert settings of the `lorkd` section."""
    section = config.lorkd
    return ExpertConfig(
        rank=section.rank,
        ranks=dict(section.ranks),
        alpha=section.alpha,
        layout=section.layout,
        norm=section.norm,
        depthwise=section.depthwise,
        strategy=section.strategy,
        strategies=dict(section.strategies),
    )


def save_live(model: RegionalModel | SeparateModels, directory: Path) -> Path:
    """Write the weights of a live model, all regions together, to `model.safetensors` in a directory.

    Raises:
        UsageError: The model is fused, so its base weights are not the shared ones.
    """
    save_tensors(directory / WEIGHTS, model.state_dict())
    return directory / WEIGHTS


def load_live(run: Path) -> RegionalModel | SeparateModels:
    """Rebuild the live model of a run directory from `config.yaml`, `regions.json` and `model.safetensors`.

    The weights must fit exactly. Digests are the business of whoever opened the run (`runs.open_run`).

    Returns:
        The model in eval mode, on the CPU.

    Raises:
        ArtifactError: A file is missing or damaged, or the weights are of another model.
    """
    try:
        config = load_config(run / "config.yaml")
        regions = RegionSet.from_json(read_json(run / "regions.json")["regions"])
        model = build_live(config, regions)
    except (KeyError, TypeError, UsageError) as error:
        raise ArtifactError(
            f"{run} does not describe a model ({' '.join(str(error).split())[:160]})",
            required="an intact run directory",
            fix="train again with --force",
        ) from None
    load_strict(model, load_tensors(run / WEIGHTS), run / WEIGHTS)
    model.eval()
    return model


def _regional(config: Config, regions: RegionSet) -> RegionalModel:
    return RegionalModel(_backbone(config, regions), regions, mean=config.image.mean, std=config.image.std)


def _with_experts(config: Config, regions: RegionSet) -> RegionalModel:
    backbone = _backbone(config, regions)
    least = config.lorkd.select_min_channels
    routing = add_experts_(backbone, regions.names, expert_config(config), select=_wide(least) if least else None)
    return RegionalModel(backbone, regions, mean=config.image.mean, std=config.image.std, routing=routing)


def _backbone(config: Config, regions: RegionSet) -> nn.Module:
    image, dense = config.image, dense_outputs(regions)
    return build_backbone(deployed_backbone(config), channels=image.channels, image_size=image.size, dense=dense)


def _wide(least: int) -> Select:
    """Select layers with `least` input channels or more, where an update of low rank is small beside the layer."""

    def select(module: nn.Module, name: str) -> bool:
        channels = getattr(module, "in_channels", getattr(module, "in_features", 0))
        return bool(channels >= least)

    return select
