"""timm's networks as backbones, built without weights, which are read from a local file and never downloaded.

timm imports torchvision (and so does peft, if it is installed), whose wheels are CUDA builds. With a CPU build of torch
their compiled operators cannot be loaded, and the import fails for two undeclared operators, which are declared in this
case. Nothing here calls them.
"""

from __future__ import annotations

import importlib.util
import itertools
import warnings
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from lorkit.decompose.errors import MissingRuntimeError, UsageError
from lorkit.decompose.models.backbones.stages import STAGES, Gridded, SequentialStages
from lorkit.decompose.models.backbones.transformer_stages import TransformerStages

TIMM = "timm:"
LAYERS = tuple(f"layer{index + 1}" for index in range(STAGES))
_SIGNATURES = ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
               "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # fmt: skip


def build_timm(name: str, channels: int, image_size: tuple[int, ...]) -> nn.Module:
    """Build a headless network of timm with fresh weights.

    Args:
        name: Name in timm, without the prefix.
        channels: C of the images.
        image_size: (H, W) of the images; only transformers depend on it.

    Raises:
        UsageError: The name is unknown, or the network has no single linear classifier.
        MissingRuntimeError: timm is not installed.
    """
    timm = known_timm(name)
    try:
        network = timm.create_model(name, pretrained=False, in_chans=channels, num_classes=0, img_size=image_size)
    except TypeError:  # convolutional networks have no img_size
        network = timm.create_model(name, pretrained=False, in_chans=channels, num_classes=0)
    head = network.default_cfg.get("classifier")
    if not isinstance(head, str) or not isinstance(network.get_submodule(head), nn.Identity):
        raise UsageError(
            f"backbone '{TIMM}{name}' has no single linear classifier",
            required="a network with one classifier layer",
            fix="choose another backbone",
        )
    network.feature_dim = int(getattr(network, "head_hidden_size", None) or network.num_features)
    network.head_name = head
    # what is pooled ends in an activation: with ReLU, pooled features are never negative
    last = getattr(network, "act1", None) if hasattr(network, "layer4") else getattr(_last_norm(network), "act", None)
    network.rectified = isinstance(last, nn.ReLU | nn.ReLU6)
    return cast(nn.Module, network)


def _last_norm(network: Any) -> nn.Module | None:
    """Return the norm with an activation that an EfficientNet pools after; None for other networks."""
    return network.bn2 if _is_efficient(network) and hasattr(network, "bn2") else None


def timm_normalisation(backbone: str, channels: int) -> dict[str, tuple[float, ...]]:
    """Return the mean and std, one value per channel, that timm's weights of a network were trained with.

    Those of gray images are the average over the colours.
    """
    name = backbone.removeprefix(TIMM)
    found = known_timm(name).models.get_pretrained_cfg(name)
    values = {"mean": found.mean, "std": found.std}
    if channels == 1:
        return {key: (sum(value) / len(value),) for key, value in values.items()}
    return {key: tuple(float(one) for one in value) for key, value in values.items()}


def is_timm(network: nn.Module) -> bool:
    """Return whether a network is one of timm's."""
    return type(network).__module__.startswith("timm.")


def known_timm(name: str) -> Any:
    """Return the package timm; raise UsageError if it has no network of this name, MissingRuntimeError without it."""
    timm = _import()
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('.')[0][:6]}*")[:5]
        raise UsageError(
            f"unknown backbone '{TIMM}{name}'",
            required="the name of a timm network" + (f", as {', '.join(near)}" if near else ""),
            fix="list them with timm.list_models()",
        )
    return timm


@cache
def _import() -> Any:
    if importlib.util.find_spec("timm") is None:
        raise MissingRuntimeError(
            "timm, which a backbone 'timm:...' needs, is not installed",
            required="the extra 'timm'",
            fix='pip install "lorkit[timm]"',
        )
    declare_operators()
    with warnings.catch_warnings():  # torchvision warns of further libraries
        warnings.simplefilter("ignore")
        import timm
    return timm


@cache
def declare_operators() -> torch.library.Library | None:
    """Declare the operators that torchvision expects, if the compiled ones cannot be loaded.

    The declarations last as long as the returned library, which the cache keeps.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations or hasattr(torch.ops.torchvision, "nms"):
        return None
    compiled = sorted(Path(spec.submodule_search_locations[0]).glob("_C.*"))
    try:
        for path in compiled:
            torch.ops.load_library(path)  # type: ignore[no-untyped-call]
    except OSError:  # a CUDA build with a CPU build of torch
        compiled = []
    if compiled:
        return None
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for signature in _SIGNATURES:
        library.define(signature)  # type: ignore[no-untyped-call]
    return library


def timm_stages(network: Any, *, dense: bool = False) -> Gridded | None:
    """Return a network of timm in stages, or None for another structure or network.

    - ResNets and similar (`conv1`, `layer1` to `layer4`): as the ResNets of this project.
    - EfficientNets, MobileNets and similar (`conv_stem`, `blocks`): the runs of blocks that end at 1/4, 1/8, 1/16 and
      1/32 of the image, the stem with the first; what widens the features before the classifier is no stage.
    - Networks of a `stem` and four `stages` (ConvNeXt): its stages, the stem with the first.
    - Vision transformers (`patch_embed`, `blocks`): four equal runs of blocks on the grid of patches; class and
      register tokens are context. If only these are pooled, they are the last grid, (N, D, R, 1).
    """
    if not is_timm(network) or not hasattr(network, "forward_head"):
        return None
    if all(hasattr(network, name) for name in ("conv1", "bn1", "act1", "maxpool", *LAYERS)):
        return _layers(network)
    if _is_efficient(network):
        return _efficient(network)
    if all(hasattr(network, name) for name in ("stem", "stages", "norm_pre")) and len(network.stages) == STAGES:
        return _stem_and_stages(network)
    blocks = getattr(network, "blocks", None)
    if isinstance(blocks, nn.Sequential) and len(blocks) >= STAGES and hasattr(network, "_pos_embed"):
        return _transformer(network, dense)
    return None


def _layers(network: Any) -> Gridded:
    first, *later = (network.get_submodule(name) for name in LAYERS)

    def stem(x: Tensor) -> Tensor:
        return cast(Tensor, first(network.maxpool(network.act1(network.bn1(network.conv1(x))))))

    return SequentialStages([stem, *later], network.forward_head)


def _is_efficient(network: Any) -> bool:
    """Return whether a network is of EfficientNet's structure, or of MobileNetV3's, whose head is after the pooling."""
    names = {name for name, _ in network.named_children()}
    heads = ({"bn2"}, {"norm_head", "act2", "flatten"})
    body = {"conv_stem", "bn1", "blocks", "conv_head", "global_pool", "classifier"}
    return names in [body | head for head in heads] and len(_ends_of_blocks(network)) == STAGES


def _ends_of_blocks(network: Any) -> list[int]:
    """Return the last block of each stage, from timm's own description of its features, coarsest last."""
    places = [str(one["module"]).split(".") for one in list(network.feature_info)[-STAGES:]]
    return [int(place[1]) for place in places if place[0] == "blocks" and len(place) == 2]


def _efficient(network: Any) -> Gridded:
    blocks, starts = list(network.blocks), [0, *(end + 1 for end in _ends_of_blocks(network))]
    runs = [nn.Sequential(*blocks[first:last]) for first, last in itertools.pairwise([*starts[:-1], len(blocks)])]
    first, *later = runs

    def stem(x: Tensor) -> Tensor:
        return cast(Tensor, first(network.bn1(network.conv_stem(x))))

    def tail(x: Tensor) -> Tensor:
        wide = network.bn2(network.conv_head(x)) if hasattr(network, "bn2") else x
        return cast(Tensor, network.forward_head(wide))

    return SequentialStages([stem, *later], tail)


def _stem_and_stages(network: Any) -> Gridded:
    first, *later = network.stages

    def stem(x: Tensor) -> Tensor:
        return cast(Tensor, first(network.stem(x)))

    def tail(x: Tensor) -> Tensor:
        return cast(Tensor, network.forward_head(network.norm_pre(x)))

    return SequentialStages([stem, *later], tail)


def _transformer(network: Any, dense: bool) -> Gridded:
    def embed(x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        size = network.patch_embed.dynamic_feat_size(tuple(x.shape[2:]))
        x = network._pos_embed(network.patch_embed(x))
        return network.norm_pre(network.patch_drop(x)), size

    def pool(x: Tensor) -> Tensor:
        return cast(Tensor, network.forward_head(network.norm(x)))

    prefix = int(network.num_prefix_tokens)
    by_token = network.global_pool == "token" and prefix > 0
    blocks = list(network.blocks)
    return TransformerStages(blocks, prefix, embed=embed, norm=network.norm, pool=pool, by_token=by_token, dense=dense)
