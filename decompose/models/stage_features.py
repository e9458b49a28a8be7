"""The stages of any network that has them, to read the features of a foundation.

Backbones of this project have adapters in `staged`, timm's networks return intermediate features, and a user's teacher
returns its stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.backbones.stage_adapters import stage_shapes, staged
from lorkit.decompose.models.backbones.stages import EMPTY, STAGES, HasStages, StageOutputs
from lorkit.decompose.models.backbones.timm_models import is_timm
from lorkit.decompose.models.foundation.teacher import TeacherBackbone


class _TeacherStages:
    def __init__(self, backbone: TeacherBackbone) -> None:
        self.backbone = backbone

    def run_stages(self, x_NCHW: Tensor) -> StageOutputs:
        found = self.backbone.teacher.features(x_NCHW)
        return StageOutputs(list(found.grids), [EMPTY] * len(found.grids), found.features)


class _TimmStages:
    """A timm network: its last four levels, or four equal runs of a transformer's blocks."""

    def __init__(self, network: Any) -> None:
        self.network = network
        blocks: Any = getattr(network, "blocks", None)
        self.indices: int | Sequence[int] = STAGES
        listed = isinstance(blocks, nn.Sequential | nn.ModuleList) and len(blocks) >= STAGES
        if listed and hasattr(network, "patch_embed"):
            self.indices = [-(-len(blocks) * (stage + 1) // STAGES) - 1 for stage in range(STAGES)]

    def run_stages(self, x_NCHW: Tensor) -> StageOutputs:
        last, grids = self.network.forward_intermediates(x_NCHW, indices=self.indices)
        return StageOutputs(list(grids), [EMPTY] * len(grids), self.network.forward_head(last))


def stage_shapes_of(backbone: nn.Module, image_shape: tuple[int, ...], *, dense: bool) -> list[tuple[int, ...]]:
    """Return (C, *grid) of each stage for images (C, *spatial); a user's teacher states its own.

    `dense` as in `stage_view`.

    Raises:
        UsageError: It has no known stages, or not four.
    """
    if isinstance(backbone, TeacherBackbone):
        stage_view(backbone, dense=dense)  # raises unless there are four
        return list(backbone.stages)
    return stage_shapes(backbone, image_shape, partial(stage_view, dense=dense))


def stage_view(backbone: nn.Module, *, dense: bool) -> HasStages:
    """Return a network in its four stages, which share its weights; its features are maps (`dense`), or pooled.

    Raises:
        UsageError: It does not have four stages.
    """
    if isinstance(backbone, TeacherBackbone):
        if len(backbone.stages) != STAGES:
            raise UsageError(
                f"a teacher with {len(backbone.stages)} stages",
                required=f"{STAGES} grids in the result of its features(), one per stage",
                fix="name as many (foundation.features of an ONNX file), or use method rd, which needs none",
            )
        return _TeacherStages(backbone)
    if is_timm(backbone) and not dense:
        if not hasattr(backbone, "forward_intermediates"):
            raise UsageError(
                f"{type(backbone).__name__} of timm has no known stages",
                required="a network that gives intermediate features (forward_intermediates)",
                fix="choose another backbone, or method rd, which needs no stages",
            )
        return _TimmStages(backbone)
    return staged(backbone, dense=dense)
