"""Backbones as four stages that can be entered at any stage, for reprogrammed features.

`run_stages` runs the network and returns each stage's output as a grid; `forward_from` continues from a grid in place
of one of them. The network's own modules are called in order, without hooks, so compilers and DDP see plain calls. The
adapter of an architecture is in its file and is found by the backbone's class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from lorkit.decompose.config.methods import InjectedSkips
from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts.forecast import on_meta
from lorkit.decompose.models.backbones import densenet, resnet, shufflenet, vit
from lorkit.decompose.models.backbones.graphs import mlp, ragformer
from lorkit.decompose.models.backbones.graphs.mlp import NodeMlp
from lorkit.decompose.models.backbones.graphs.ragformer import Ragformer
from lorkit.decompose.models.backbones.resnet import ResNet
from lorkit.decompose.models.backbones.shufflenet import ShuffleNetV2
from lorkit.decompose.models.backbones.stages import (
    EMPTY,
    Encoding,
    Forked,
    Gridded,
    HasStages,
    StageContext,
    Staged,
    StageOutputs,
    mean_of_positions,
)
from lorkit.decompose.models.backbones.timm_models import timm_stages
from lorkit.decompose.models.backbones.unets import architecture_of
from lorkit.decompose.models.backbones.unets.encoder import UNetEncoder
from lorkit.decompose.models.backbones.vit import VisionTransformer


def staged(backbone: nn.Module, *, dense: bool | None = None) -> Staged:
    """Return a backbone in stages, which share its weights.

    Args:
        backbone: With or without a head.
        dense: Whether its features are maps, or pooled; None for those that the backbone itself returns.

    Raises:
        UsageError: Its architecture has no adapter, or no maps.
    """
    if isinstance(backbone, UNetEncoder) and dense:
        raise _no_decoder()
    if isinstance(backbone, StagedMaps | UNetEncoder):
        return backbone.stages()
    unet = architecture_of(backbone)
    if unet is not None:
        return unet.stages(backbone) if dense in (None, True) else unet.stages(backbone).without_decoder(nn.Identity())
    return _StackedMaps(_gridded(backbone, dense=True), nn.Identity()) if dense else _gridded(backbone)


def forked(backbone: nn.Module) -> Forked:
    """Return a headless backbone that gives pooled features and maps; raise UsageError if it has no stages."""
    unet = architecture_of(backbone)
    if unet is not None:
        return unet.stages(backbone)
    if isinstance(backbone, Forks):
        return backbone.fork()
    if isinstance(backbone, UNetEncoder):
        raise _no_decoder()
    return _StackedMaps(_gridded(backbone, dense=True), nn.Identity())


def encode(network: Forked, x: Tensor) -> Encoding:
    """Run all stages on images (N, C, *spatial)."""
    return network.encode_from(0, *network.first_grid(x))


def _no_decoder() -> UsageError:
    return UsageError(
        "a U-Net without its decoder, for a region with masks",
        required="a network that was trained with a region with masks",
        fix="train it again with such a region, or choose another backbone",
    )


def _gridded(backbone: nn.Module, *, dense: bool = False) -> Gridded:
    if isinstance(backbone, ResNet):
        return resnet.stages(backbone)
    if isinstance(backbone, ShuffleNetV2):
        return shufflenet.stages(backbone)
    if isinstance(backbone, VisionTransformer):
        return vit.stages(backbone, dense=dense)
    if isinstance(backbone, Ragformer):
        return ragformer.stages(backbone)
    if isinstance(backbone, NodeMlp):
        return mlp.stages(backbone)
    if type(backbone).__name__ == "DenseNet121" and hasattr(backbone, "class_layers"):
        return densenet.stages(backbone)
    found = timm_stages(backbone, dense=dense)
    if found is not None:
        return found
    raise UsageError(
        f"{type(backbone).__name__} has no known stages",
        required="a backbone of this project, or a ResNet, EfficientNet, ConvNeXt or vision transformer of timm",
        fix="choose another backbone, or method rd, which needs no stages",
    )


@runtime_checkable
class Forks(Protocol):
    """A network outside of this project that gives both kinds of features."""

    def fork(self) -> Forked:
        """Return the network with both."""
        ...


class StagedMaps(nn.Module):
    """A classification backbone for masks: the concatenated stages, upsampled to the image's grid.

    Args:
        network: A staged, headless backbone.

    Attributes:
        head_name: Name of the module that `attach_head` replaces.
    """

    head_name = "head"

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.head: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, *spatial) to maps (N, M, *spatial)."""
        return self.stages().run_stages(x).features

    def stages(self) -> Staged:
        """Return the stages of the network."""
        return _StackedMaps(_gridded(self.network, dense=True), self.head)


class PooledMaps(nn.Module):
    """A network of maps whose stages are unknown, for classes: the mean of its maps.

    Args:
        network: A headless network of maps.

    Attributes:
        head_name: Name of the module that `attach_head` replaces.
    """

    head_name = "head"

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.head: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, *spatial) to features (N, F)."""
        return cast(Tensor, self.head(mean_of_positions(self.network(x))))


class _StackedMaps:
    """Stages whose grids are all used at the end, so that the earlier ones are skips, as in a U-Net."""

    def __init__(self, inner: Gridded, head: nn.Module) -> None:
        self.inner, self.head = inner, head

    def run_stages(self, x: Tensor) -> StageOutputs:
        outputs = self.inner.run_stages(x)
        context = [
            StageContext(one.tokens, (x,), tuple(outputs.grids[:stage])) for stage, one in enumerate(outputs.context)
        ]
        return StageOutputs(outputs.grids, context, self._joined(outputs.grids, x))

    def first_grid(self, x: Tensor) -> tuple[Tensor, StageContext]:
        grid, context = self.inner.first_grid(x)
        return grid, StageContext(context.tokens, (x,))

    def forward_from(self, stage: int, grid: Tensor, context: StageContext = EMPTY) -> Tensor:
        return self.maps(self.encode_from(stage, grid, context))

    def encode_from(self, stage: int, grid: Tensor, context: StageContext = EMPTY) -> Encoding:
        later = self.inner.encode_from(stage, grid, context)
        return Encoding(later.last, (*context.skips, *later.grids), context.stem)

    def pooled(self, last: Tensor) -> Tensor:
        return self.inner.pooled(last)

    def maps(self, encoding: Encoding) -> Tensor:
        return self._joined(encoding.grids, encoding.stem[0])

    def _joined(self, grids: Sequence[Tensor], image: Tensor) -> Tensor:
        return cast(Tensor, self.head(upsample_and_concatenate(grids, image.shape[2:])))


def upsample_and_concatenate(grids: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """Return grids (N, C_i, *grid_i) upsampled to `size` and concatenated, (N, sum C_i, *size)."""
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return torch.cat([nn.functional.interpolate(grid, tuple(size), mode=mode) for grid in grids], dim=1)


def injection_context(
    outputs: StageOutputs, stage: int, injected: Sequence[Tensor], skips: InjectedSkips
) -> StageContext:
    """Return the further inputs of a pass of reprogrammed features from a stage, without gradients to the student.

    Args:
        outputs: The student's own pass.
        stage: Stage of the injected features.
        injected: Reprogrammed features of every stage.
        skips: Source of the earlier stages' grids for a U-Net's decoder: the `student`, the `reprogrammed` ones, or
            `zero`. What is before the first stage has no reprogrammed counterpart: it is the student's, or zero.
    """
    own = outputs.context[stage]
    tokens = None if own.tokens is None else own.tokens.detach()
    if skips == "zero":
        return StageContext(tokens, tuple(map(torch.zeros_like, own.stem)), tuple(map(torch.zeros_like, own.skips)))
    foreign = tuple(injected[: len(own.skips)])
    earlier = foreign if skips == "reprogrammed" else tuple(grid.detach() for grid in own.skips)
    return StageContext(tokens, tuple(value.detach() for value in own.stem), earlier)


def stage_shapes(
    backbone: nn.Module, image_shape: tuple[int, ...], enter: Callable[[nn.Module], HasStages] = staged
) -> list[tuple[int, ...]]:
    """Return (C, *grid) of each stage for images (C, *spatial), from shapes alone.

    `enter` returns the stages; by default it raises UsageError if the architecture has no adapter.
    """
    network = on_meta(backbone)
    with torch.no_grad():
        dtype, entered = next(network.parameters()).dtype, enter(network)
        if isinstance(entered, _StackedMaps):
            entered = entered.inner  # resizing grids to the image is most of the time, and changes no grid
        outputs = entered.run_stages(torch.empty(1, *image_shape, device="meta", dtype=dtype))
    return [tuple(grid.shape[1:]) for grid in outputs.grids]
