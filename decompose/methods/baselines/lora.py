"""LoRA: the frozen foundation with low-rank factors and a head trained for each region, merged after training.

Factors, their initialisation and merging are those of Hugging Face peft (Hu et al. 2021 for linear layers; a
convolution gets a low-rank convolution and a 1x1 one). The merged foundation, with its classes and keys, is saved and
deployed.
"""

from __future__ import annotations

import importlib.util
from typing import Any, cast

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lorkit.decompose.config import Config, LoraConfig, TrainConfig
from lorkit.decompose.errors import MissingRuntimeError, UsageError
from lorkit.decompose.methods.base import TrainingModule
from lorkit.decompose.methods.baselines.finetune import FineTuned
from lorkit.decompose.models.backbones.timm_models import declare_operators
from lorkit.decompose.models.regional import RegionalModel


class LoraModule(TrainingModule):
    """A frozen backbone with factors on every dense layer, and a trainable head."""

    def __init__(self, live: RegionalModel, train: TrainConfig, settings: LoraConfig) -> None:
        super().__init__(live, train)
        _insert(live.backbone, settings)

    def train(self, mode: bool = True) -> LoraModule:
        """Set the mode; batch norms stay frozen like their weights."""
        super().train(mode)
        for module in self.live.backbone.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def backbone_parameters(self) -> dict[str, nn.Parameter]:
        """Return none: the backbone is frozen, and its factors are new."""
        return {}

    def finished(self) -> RegionalModel:
        """Return the network with its factors merged: original classes and keys."""
        live = super().finished()
        _merge(live.backbone)
        return live


class Lora(FineTuned):
    """`lora`: one adapter and head per region on the frozen foundation."""

    name = "lora"

    def adapt(self, live: RegionalModel, config: Config) -> TrainingModule:
        """Return a module with factors, or raise MissingRuntimeError without peft, UsageError without dense layers."""
        return LoraModule(live, config.train, config.lora)

    def notices(self, config: Config) -> list[str]:
        """Return which settings have no effect; raise MissingRuntimeError before training if peft is not installed."""
        _peft()
        stated = {"layer_decay": config.train.layer_decay, "freeze_epochs": config.train.freeze_epochs}
        return [
            f"train.{key} has no effect on method {self.name}: its backbone is always frozen"
            for key, value in stated.items()
            if value
        ]


def _peft() -> Any:
    if importlib.util.find_spec("peft") is None:
        raise MissingRuntimeError(
            "LoRA needs peft, which is not installed", required="the extra 'peft'", fix='pip install "lorkit[peft]"'
        )
    declare_operators()  # peft imports torchvision if it is installed
    import peft

    return peft


def _insert(backbone: nn.Module, settings: LoraConfig) -> None:
    """Freeze a backbone and add factors to its dense layers, in place."""
    peft = _peft()
    names = [name for name, module in backbone.named_modules() if _is_dense(module)]
    if not names:
        raise UsageError(
            f"no layer of {type(backbone).__name__} supports LoRA",
            required="a backbone with nn.Linear, nn.Conv2d or nn.Conv3d layers",
            fix="use another foundation.backbone",
        )
    backbone.requires_grad_(False)
    adapter = peft.LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=names)
    peft.inject_adapter_in_model(adapter, backbone)


def _is_dense(module: nn.Module) -> bool:
    """Test exact classes: a subclass may compute something else, and a grouped convolution has no low rank."""
    convolves = isinstance(module, nn.Conv2d | nn.Conv3d) and type(module) in (nn.Conv2d, nn.Conv3d)
    return type(module) is nn.Linear or (convolves and cast(Any, module).groups == 1)


def _merge(backbone: nn.Module) -> None:
    """Merge the factors into their layers and restore these, in place."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(backbone.named_modules()):
        if isinstance(module, LoraLayer):
            cast(Any, module).merge(safe_merge=True)
            backbone.set_submodule(name, module.get_base_layer())
    backbone.requires_grad_(True)


METHOD = Lora()
