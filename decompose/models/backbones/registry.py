"""The registry of backbones: headless networks that map images to features, by name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol, cast

from torch import Tensor, nn

from lorkit.decompose.errors import UsageError, unknown
from lorkit.decompose.models.backbones.densenet import densenet121
from lorkit.decompose.models.backbones.gated_encoders import Encoders, GatedEncoders, new_gate, parse_gated
from lorkit.decompose.models.backbones.graphs.mlp import node_mlp, node_mlp_own
from lorkit.decompose.models.backbones.graphs.ragformer import ragformer
from lorkit.decompose.models.backbones.graphs.variants import parse_ragformer
from lorkit.decompose.models.backbones.outputs import feature_width, image_shape_of, stacked_width
from lorkit.decompose.models.backbones.resnet import resnet18, resnet18_3d, resnet34, resnet50
from lorkit.decompose.models.backbones.shufflenet import ShuffleNetV2
from lorkit.decompose.models.backbones.small_stem import WIDER, no_small_stem, parse_small_stem, shrink_stem_
from lorkit.decompose.models.backbones.stage_adapters import StagedMaps
from lorkit.decompose.models.backbones.timm_models import TIMM, build_timm
from lorkit.decompose.models.backbones.unets import UNETS
from lorkit.decompose.models.backbones.unets.encoder import UNetEncoder
from lorkit.decompose.models.backbones.vit import vit_small, vit_tiny


class Backbone(Protocol):
    """Attributes and call of every backbone.

    Attributes:
        feature_dim: F, the width of its pooled features.
        head_name: Name of the module that `attach_head` replaces.

    Networks whose own output is maps have `maps_dim`, their width M.
    """

    feature_dim: int
    head_name: str

    def __call__(self, x: Tensor) -> Tensor:
        """Map images (N, C, *spatial) to pooled features (N, F), or to maps (N, M, *spatial)."""
        ...


class Known(NamedTuple):
    """A classification backbone of the registry.

    Attributes:
        build: (channels, image size) to a headless network; `ragformer` also takes its sizes.
        dims: Supported numbers of spatial dimensions.
        nodes: Whether its images are those of nodes of a graph (see `graphs`).
    """

    build: Callable[..., nn.Module]
    dims: tuple[int, ...] = (2,)
    nodes: bool = False


_DEFAULT = "resnet50"
BACKBONES: dict[str, Known] = {
    "densenet121": Known(densenet121, (2, 3)),
    "node_mlp": Known(node_mlp, (3,), nodes=True),
    "node_mlp_own": Known(node_mlp_own, (3,), nodes=True),
    "ragformer": Known(ragformer, (3,), nodes=True),
    "resnet18": Known(lambda channels, image_size: resnet18(channels)),
    "resnet18_3d": Known(lambda channels, image_size: resnet18_3d(channels), (3,)),
    "resnet34": Known(lambda channels, image_size: resnet34(channels)),
    "resnet50": Known(lambda channels, image_size: resnet50(channels)),
    "shufflenet_v2_x1_0": Known(lambda channels, image_size: ShuffleNetV2(channels=channels)),
    "vit_small": Known(vit_small),
    "vit_tiny": Known(vit_tiny),
}


def known_backbones(*, dims: int | None = None) -> tuple[str, ...]:
    """Return the names for `build_backbone` for images of 2 or 3 dimensions or any, without nodes.

    U-Nets and `timm:<name>` are not among them.
    """
    return tuple(name for name, known in BACKBONES.items() if not known.nodes and dims in (None, *known.dims))


def build_backbone(name: str, *, channels: int, image_size: tuple[int, ...], dense: bool = False) -> nn.Module:
    """Build a headless network with fresh weights from torch's global generator.

    Args:
        name: One of `known_backbones(...)`, a U-Net, `timm:<name>`, a `ragformer_name`, or the
            `gated_name` of one of them; with `small-stem:` before it (see `small_stem`).
        channels: C of the images.
        image_size: (H, W) or (D, H, W) of the images; only transformers depend on the values.
        dense: Whether a region has masks. Without masks a U-Net has no decoder; other networks are the same.

    Returns:
        A module that maps (N, C, *spatial) to pooled features (N, F), or to maps (N, M, *spatial) if it is a U-Net with
        a decoder, with attributes `feature_dim` (F), `image_shape` (C, *spatial) and `head_name`, which names an
        nn.Identity. `RegionalModel` gets the other kind of features from its stages.

    Raises:
        UsageError: The name is unknown, or the number of dimensions or the image size is not supported.
        MissingRuntimeError: The name needs timm, which is not installed.
    """
    if (gated := parse_gated(name)) is not None:
        count, encoder = gated
        built = [build_backbone(encoder, channels=channels, image_size=image_size, dense=dense) for _ in range(count)]
        return GatedEncoders(Encoders(built), new_gate((channels, *image_size), count))
    if name in UNETS:
        network = _unet(name, channels, image_size, dense=dense)
    else:
        network = _pooled(name, channels, image_size, dense=dense)
    cast(Any, network).image_shape = (channels, *image_size)
    if dense and name not in UNETS:
        cast(Any, network).stacked_dim = stacked_width(network)  # before experts, whose layers need a region to run
    return network


def _pooled(name: str, channels: int, image_size: tuple[int, ...], *, dense: bool = False) -> nn.Module:
    if (usual := parse_small_stem(name)) is not None:
        if usual in UNETS or parse_gated(usual) is not None or _known(usual).nodes:
            raise no_small_stem(usual)
        # limits on small images are those of the later grids
        return shrink_stem_(_pooled(usual, channels, tuple(WIDER * side for side in image_size)), usual)
    known = _known(name)
    if len(image_size) not in known.dims:
        others = ", ".join([*(UNETS if dense else ()), *known_backbones(dims=len(image_size))])
        unnamed = ", the default of foundation.backbone," if name == _DEFAULT else ""
        raise UsageError(
            f"backbone '{name}'{unnamed} with image size {'x'.join(map(str, image_size))}",
            required=f"an image size of {' or '.join(map(str, known.dims))} dimensions",
            fix=f"name another one ({others}) with foundation.backbone and student.backbone, or change image.size",
        )
    return known.build(channels, image_size)


def _known(name: str) -> Known:
    if name.startswith(TIMM):
        return Known(partial(build_timm, name.removeprefix(TIMM)))
    if (sizes := parse_ragformer(name)) is not None:
        plain = BACKBONES["ragformer"]
        return plain._replace(build=partial(plain.build, **sizes))
    if name not in BACKBONES:
        raise unknown("backbone", name, [*BACKBONES, *UNETS, f"{TIMM}<name>"])
    return BACKBONES[name]


def _unet(name: str, channels: int, image_size: tuple[int, ...], *, dense: bool) -> nn.Module:
    divisor = UNETS[name].divisor
    # norms over positions are undefined if the bottleneck has a single one
    if any(size % divisor for size in image_size) or all(size == divisor for size in image_size):
        raise UsageError(
            f"image size {'x'.join(map(str, image_size))} for backbone '{name}'",
            required=f"sides that are multiples of {divisor}, and one of {2 * divisor} or more",
            fix="change image.size or choose another backbone",
        )
    network = UNETS[name].build(channels, len(image_size))
    return network if dense else UNetEncoder(network, UNETS[name])


def new_head(backbone: nn.Module, outputs: int, *, maps: bool) -> nn.Module:
    """Return a head with fresh weights for a backbone: a 1 x 1 convolution for `maps`, else a linear layer."""
    width = feature_width(backbone, dense=maps)
    if not maps:
        return nn.Linear(width, outputs)
    return nn.Conv2d(width, outputs, 1) if len(image_shape_of(backbone)) == 3 else nn.Conv3d(width, outputs, 1)


def attach_head(backbone: nn.Module, head: nn.Module) -> nn.Module:
    """Return a copy of a backbone with a copy of `head`: a plain network from images to logits.

    Logits are (N, classes), or (N, outputs, *spatial). The head is one for the backbone's own output.
    """
    network = copy.deepcopy(backbone)
    network.set_submodule(cast(Backbone, backbone).head_name, copy.deepcopy(head))
    return network


def detach_head(network: nn.Module) -> nn.Module:
    """Return a copy of a plain network's backbone, as `build_backbone` builds it, without its head."""
    if isinstance(network, StagedMaps):
        return copy.deepcopy(network.network)
    backbone = copy.deepcopy(network)
    backbone.set_submodule(cast(Backbone, network).head_name, nn.Identity())
    return backbone
