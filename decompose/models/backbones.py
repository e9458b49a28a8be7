"""The registry of backbones: headless networks that map images to features, by name."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from typing import Any, Protocol, cast

from torch import Tensor, nn

from lorkit.decompose.errors import MissingRuntimeError, UsageError
from lorkit.decompose.models.resnet import resnet18, resnet34, resnet50
from lorkit.decompose.models.shufflenet import ShuffleNetV2
from lorkit.decompose.models.vit import vit_small, vit_tiny
from lorkit.decompose.regions import unknown

TIMM = "timm:"


class Backbone(Protocol):
    """What every backbone has besides being an nn.Module: its features and the place of its head."""

    feature_dim: int
    head_name: str

    def __call__(self, x_NCHW: Tensor) -> Tensor:
        """Map images (N, C, H, W) to features (N, F)."""
        ...


def _densenet121(channels: int, image_size: tuple[int, ...]) -> nn.Module:
    from monai.networks.nets.densenet import DenseNet121  # a second of import that other backbones need not pay

    network = cast(Any, DenseNet121(spatial_dims=2, in_channels=channels, out_channels=1))
    network.feature_dim, network.head_name = network.class_layers.out.in_features, "class_layers.out"
    network.class_layers.out = nn.Identity()
    return cast(nn.Module, network)


def _timm(name: str, channels: int, image_size: tuple[int, ...]) -> nn.Module:
    if importlib.util.find_spec("timm") is None:
        raise MissingRuntimeError(
            f"backbone '{TIMM}{name}' needs timm, which is not installed",
            required="the extra 'timm'",
            fix='pip install "lorkit[timm]"',
        )
    import timm

    if not timm.is_model(name):
        raise unknown("backbone", f"{TIMM}{name}", [f"{TIMM}{known}" for known in timm.list_models()])
    try:
        network = timm.create_model(name, in_chans=channels, num_classes=0, img_size=image_size)
    except TypeError:  # convolutional networks take no img_size
        network = timm.create_model(name, in_chans=channels, num_classes=0)
    head = network.default_cfg.get("classifier")
    if not isinstance(head, str) or not isinstance(network.get_submodule(head), nn.Identity):
        raise UsageError(
            f"backbone '{TIMM}{name}' has no single linear classifier",
            required="a network with one classifier layer",
            fix="choose another backbone",
        )
    network.feature_dim = int(getattr(network, "head_hidden_size", None) or network.num_features)
    network.head_name = head
    return cast(nn.Module, network)


BACKBONES: dict[str, Callable[[int, tuple[int, ...]], nn.Module]] = {
    "densenet121": _densenet121,
    "resnet18": lambda channels, image_size: resnet18(channels),
    "resnet34": lambda channels, image_size: resnet34(channels),
    "resnet50": lambda channels, image_size: resnet50(channels),
    "shufflenet_v2_x1_0": lambda channels, image_size: ShuffleNetV2(channels=channels),
    "vit_small": vit_small,
    "vit_tiny": vit_tiny,
}


def known_backbones() -> tuple[str, ...]:
    """Return the names that `build_backbone` takes, besides `timm:<name>`."""
    return tuple(sorted(BACKBONES))


def build_backbone(name: str, *, channels: int, image_size: tuple[int, ...]) -> nn.Module:
    """Build a headless network with fresh weights (torch's global generator decides them).

    Args:
        name: One of `known_backbones()`, or `timm:<name>`.
        channels: C of the images.
        image_size: (H, W) of the images; only transformers depend on it.

    Returns:
        A module that maps (N, C, H, W) to (N, F), with attributes `feature_dim` (F) and `head_name`; the module
        that `head_name` names is an nn.Identity.

    Raises:
        UsageError: The name is unknown, or the image size does not fit.
        MissingRuntimeError: The name needs timm, which is not installed.
    """
    if name.startswith(TIMM):
        return _timm(name.removeprefix(TIMM), channels, image_size)
    if name not in BACKBONES:
        raise unknown("backbone", name, [*BACKBONES, f"{TIMM}<name>"])
    return BACKBONES[name](channels, image_size)


def attach_head(backbone: nn.Module, head: nn.Linear) -> nn.Module:
    """Return a copy of a backbone that ends in a copy of `head`: a plain network from images to logits (N, classes)."""
    network = copy.deepcopy(backbone)
    network.set_submodule(cast(Backbone, backbone).head_name, copy.deepcopy(head))
    return network


def detach_head(network: nn.Module) -> nn.Module:
    """Return a copy of a plain network without its head: images to features (N, F)."""
    backbone = copy.deepcopy(network)
    backbone.set_submodule(cast(Backbone, network).head_name, nn.Identity())
    return backbone
