"""Layer-wise learning rates and epochs with a frozen backbone: how trained weights are fine-tuned.

Both concern the backbone's layers and norms, those of regions too. Heads, factors, routers, projectors and
reprogrammers have the full rate and are trained from the first step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from lorkit.decompose.config import TrainConfig
from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts import expert_layers
from lorkit.decompose.experts.forecast import on_meta
from lorkit.decompose.experts.layers import ExpertLayer
from lorkit.decompose.experts.norms.region_norm import RegionNorm
from lorkit.decompose.methods.base import TrainingModule
from lorkit.decompose.models.backbones.gated_encoders import Encoders
from lorkit.decompose.models.backbones.layer_stages import stages_of_layers
from lorkit.decompose.models.backbones.outputs import image_shape_of
from lorkit.decompose.models.backbones.stages import STAGES


def with_layer_rates(
    groups: Sequence[dict[str, Any]], module: TrainingModule, settings: TrainConfig
) -> list[dict[str, Any]]:
    """Return optimiser groups whose rates decay from the head to the stem, by `train.layer_decay` a stage.

    The backbone's last stage has the rate times the decay, the first, with the stem, times its fourth power. Layers
    after all stages, such as a decoder, are of the last one. Groups are split, and their `lr_ratio` is multiplied.

    Args:
        groups: Of `module.parameter_groups`.
        module: The module to train.
        settings: Of the training.

    Raises:
        UsageError: The stages of the backbone are unknown.
    """
    if settings.layer_decay is None:
        return list(groups)
    ratios = _ratios(module, settings.layer_decay)
    found = []
    for group in groups:
        parts: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            parts.setdefault(ratios.get(id(parameter), 1.0), []).append(parameter)
        own = group.get("lr_ratio", 1.0)
        found += [{**group, "params": params, "lr_ratio": own * ratio} for ratio, params in parts.items()]
    return found


class BackboneFreezing:
    """Freezes a backbone in the first `train.freeze_epochs` epochs: no weight and no running statistic changes.

    In one process frozen weights compute no gradients. With several they do, because DDP waits for the gradients of all
    parameters that it has seen at its start; `drop_gradients` then removes them before the optimiser's step.

    Args:
        module: The module to train.
        settings: Of the training.
        processes: Number of processes.
    """

    def __init__(self, module: TrainingModule, settings: TrainConfig, processes: int) -> None:
        self._epochs = settings.freeze_epochs
        self._weights = list(module.backbone_parameters().values()) if self._epochs else []
        self._norms = [one for one in module.live.backbone.modules() if isinstance(one, _NormBase)]
        self._distributed = processes > 1
        self.active = False

    def start(self, epoch: int) -> bool:
        """Freeze or release the backbone for an epoch, in training mode; return whether that changed gradients."""
        before, self.active = self.active, bool(self._weights) and epoch < self._epochs
        if self.active:
            for norm in self._norms:
                norm.eval()
        if not self._distributed:
            self._require_gradients(not self.active)
        return before != self.active and not self._distributed

    def drop_gradients(self) -> None:
        """Remove the gradients of frozen weights, which momentum and weight decay would move even at zero."""
        if self.active:
            for weight in self._weights:
                weight.grad = None

    def release(self) -> None:
        """Make the backbone trainable again after the last epoch."""
        self.active = False
        self._require_gradients(True)

    def _require_gradients(self, value: bool) -> None:
        for weight in self._weights:
            weight.requires_grad_(value)


def check_fine_tuning(module: TrainingModule, settings: TrainConfig) -> None:
    """Raise UsageError, before training, for layer-wise rates of a backbone whose stages are unknown."""
    if settings.layer_decay is not None:
        _ratios(module, settings.layer_decay)


def _ratios(module: TrainingModule, decay: float) -> dict[int, float]:
    """Return the relative rate of each weight of the backbone, by its id."""
    weights = module.backbone_parameters()
    if not weights:
        return {}
    stages = _stages_of_parameters(module.live.backbone, weights)
    return {id(weight): decay ** (STAGES - stages[name]) for name, weight in weights.items()}


def _stages_of_parameters(backbone: nn.Module, weights: Mapping[str, nn.Parameter]) -> dict[str, int]:
    """Return the stage of each of a backbone's `weights`, by their names in the backbone."""
    layers = [name for name, one in backbone.named_modules() if isinstance(one, RegionNorm)]
    whole = sorted([*layers, *expert_layers(backbone)], key=len, reverse=True)  # one layer of the plain network each
    found = _stages_of_plain(backbone)
    stages = {}
    for name in weights:
        above = next((layer for layer in whole if name.startswith(f"{layer}.")), name.rpartition(".")[0])
        stages[name] = found[above]
    return stages


def _stages_of_plain(backbone: nn.Module) -> dict[str, int]:
    """Return the stage of every layer of the plain network of a backbone."""
    if isinstance(backbone, Encoders):
        parts = [(str(index), _stages_of_plain(one)) for index, one in enumerate(backbone)]
        return {f"{place}.{name}": stage for place, part in parts for name, stage in part.items()}
    shape, plain = image_shape_of(backbone), on_meta(backbone)
    for name, module in list(plain.named_modules()):
        if isinstance(module, RegionNorm):
            plain.set_submodule(name, module.plain(module.routing.regions[0]))
        elif isinstance(module, ExpertLayer):
            plain.set_submodule(name, module.base)
    try:
        return stages_of_layers(plain, shape)
    except UsageError:
        raise UsageError(
            f"train.layer_decay for a {type(backbone).__name__}, whose stages are unknown",
            required="a backbone of this project, or a ResNet, EfficientNet, ConvNeXt or vision transformer of timm",
            fix="leave train.layer_decay out, or choose another backbone",
        ) from None
