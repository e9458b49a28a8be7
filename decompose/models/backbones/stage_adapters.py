"""Backbones as four stages that can be entered at any stage, for reprogrammed features.

`run_stages` runs the network and returns each stage's output as a grid; `forward_from` continues from a grid in place
of one of them. The network's own modules are called in order, without hooks, so compilers and DDP see plain calls. The
adapter of an architecture is in its file and is found by the backbone's class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from lorkit.decompose.config.methods import InjectedSkips
from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts.forecast import on_meta
from lorkit.decompose.models.backbones import densenet, resnet, shufflenet, vit
from lorkit.decompose.models.backbones.resnet import ResNet
from lorkit.decompose.models.backbones.shufflenet import ShuffleNetV2
from lorkit.decompose.models.backbones.stages import EMPTY, Gridded, HasStages, StageContext, Staged, StageOutputs
from lorkit.decompose.models.backbones.timm_models import timm_stages
from lorkit.decompose.models.backbones.unets import UNETS
from lorkit.decompose.models.backbones.vit import VisionTransformer


def staged(backbone: nn.Module) -> Staged:
    """Return a backbone in stages, which share its weights; raise UsageError if its architecture has no adapter."""
    if isinstance(backbone, StagedMaps):
        return backbone.stages()
    if isinstance(backbone, ResNet):
        return resnet.stages(backbone)
    if isinstance(backbone, ShuffleNetV2):
        return shufflenet.stages(backbone)
    if isinstance(backbone, VisionTransformer):
        return vit.stages(backbone)
    if type(backbone).__name__ == "DenseNet121" and hasattr(backbone, "class_layers"):
        return densenet.stages(backbone)
    for unet in UNETS.values():
        if type(backbone).__name__ == unet.class_name and hasattr(backbone, "head_name"):
            return unet.stages(backbone)
    found = timm_stages(backbone)
    if found is not None:
        return found
    raise UsageError(
        f"{type(backbone).__name__} has no known stages",
        required="a backbone of this project, or a ResNet, ConvNeXt or vision transformer of timm",
        fix="choose another backbone, or method rd, which needs no stages",
    )


class StagedMaps(nn.Module):
    """A classification backbone for dense outputs: the concatenated stages, upsampled to the image's grid.

    Args:
        network: A staged, headless backbone.
        image_shape: (C, *spatial) of an image, to count the channels.

    Attributes:
        feature_dim: F, the channels of all stages together.
        head_name: Name of the module that `attach_head` replaces.
    """

    head_name = "head"

    def __init__(self, network: nn.Module, image_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.network = network
        self.head: nn.Module = nn.Identity()
        self.feature_dim = sum(shape[0] for shape in stage_shapes(self, image_shape))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, *spatial) to features (N, F, *spatial)."""
        return self.stages().run_stages(x).features

    def stages(self) -> Staged:
        """Return the stages of the network."""
        inner: Gridded | None = timm_stages(self.network, dense=True)
        if isinstance(self.network, VisionTransformer):
            inner = vit.stages(self.network, dense=True)
        return _StackedMaps(inner or cast(Gridded, staged(self.network)), self.head)


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
        later = self.inner.later_grids(stage, grid, context)
        return self._joined([*context.skips, grid, *later], context.stem[0])

    def _joined(self, grids: list[Tensor], image: Tensor) -> Tensor:
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
        dtype = next(network.parameters()).dtype
        outputs = enter(network).run_stages(torch.empty(1, *image_shape, device="meta", dtype=dtype))
    return [tuple(grid.shape[1:]) for grid in outputs.grids]
