"""The kinds of features of a backbone: pooled for classes and labels, maps for masks."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.backbones.gated_encoders import Encoders, GatedEncoders
from lorkit.decompose.models.backbones.stage_adapters import Forks, PooledMaps, StagedMaps, stage_shapes, staged
from lorkit.decompose.models.backbones.unets import architecture_of
from lorkit.decompose.models.backbones.unets.encoder import UNetEncoder


def gives_maps(backbone: nn.Module) -> bool:
    """Return whether a backbone's own output is maps."""
    return hasattr(backbone, "maps_dim")


def feature_width(backbone: nn.Module, *, dense: bool) -> int:
    """Return the width of a backbone's maps, or of its pooled features; UsageError if it can give no maps."""
    if not dense:
        return int(cast(Any, backbone).feature_dim)
    if gives_maps(backbone):
        return int(cast(Any, backbone).maps_dim)
    if isinstance(backbone, Encoders | GatedEncoders):
        return feature_width(backbone.first, dense=True)
    if isinstance(backbone, Forks):
        raise UsageError(
            "a teacher of pooled features, for a region with masks",
            required="features of every pixel: (N, F, *size)",
            fix="let the teacher's features fit the task",
        )
    return int(getattr(backbone, "stacked_dim", 0)) or stacked_width(backbone)


def stacked_width(backbone: nn.Module) -> int:
    """Return the channels of all stages of a backbone without experts together."""
    shapes = stage_shapes(backbone, image_shape_of(backbone), lambda network: staged(network, dense=True))
    return sum(shape[0] for shape in shapes)


def image_shape_of(backbone: nn.Module) -> tuple[int, ...]:
    """Return (C, *spatial) of the images that a backbone was built for."""
    return cast("tuple[int, ...]", cast(Any, backbone).image_shape)


def with_own_output(backbone: nn.Module, *, dense: bool) -> nn.Module:
    """Return a network with shared layers whose own output is maps (`dense`), or pooled features."""
    if isinstance(backbone, Encoders):
        return Encoders([with_own_output(encoder, dense=dense) for encoder in backbone])
    if isinstance(backbone, GatedEncoders):
        return GatedEncoders(cast(Encoders, with_own_output(backbone.encoders, dense=dense)), backbone.gate)
    if dense:
        return backbone if gives_maps(backbone) else StagedMaps(backbone)
    found = without_idle_decoder(backbone, dense=False)
    return PooledMaps(found) if gives_maps(found) else found


def without_idle_decoder(backbone: nn.Module, *, dense: bool) -> nn.Module:
    """Return a U-Net's encoder, with shared layers, if no region has masks (`dense`); else the same backbone."""
    unet = None if dense else architecture_of(backbone)
    if unet is None:
        return backbone
    encoder = UNetEncoder(backbone, unet)
    cast(Any, encoder).image_shape = image_shape_of(backbone)
    return encoder


def decoder_parameters(backbone: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return the named parameters of U-Nets that only maps need; none of other networks."""
    found = []
    for place, module in backbone.named_modules():
        unet = architecture_of(module)
        decoder = tuple(f"{name}." for name in unet.decoder) if unet is not None else ()
        inside = [(name, value) for name, value in module.named_parameters() if name.startswith(decoder)]
        found += [(f"{place}.{name}".removeprefix("."), value) for name, value in inside]
    return found
