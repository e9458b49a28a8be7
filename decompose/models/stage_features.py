"""The stages of any network that can be asked for them: a foundation is walked through, never entered midway.

Backbones of this project have adapters in `staged`, timm's networks give their intermediate features themselves, a
user's teacher brings its stages along.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.backbones.stage_adapters import stage_shapes, staged
from lorkit.decompose.models.backbones.stages import EMPTY, STAGES, Walk, Walker
from lorkit.decompose.models.backbones.timm_models import is_timm
from lorkit.decompose.models.foundation.teacher import TeacherBackbone


class _Taught:
    """A user's teacher."""

    def __init__(self, backbone: TeacherBackbone) -> None:
        self.backbone = backbone

    def walk(self, x_NCHW: Tensor) -> Walk:
        found = self.backbone.teacher.features(x_NCHW)
        return Walk(list(found.grids), [EMPTY] * len(found.grids), found.features)


class _Timm:
    """A timm network: its last four levels, or four equal runs of a transformer's blocks."""

    def __init__(self, network: Any) -> None:
        self.network = network
        blocks: Any = getattr(network, "blocks", None)
        self.indices: int | Sequence[int] = STAGES
        listed = isinstance(blocks, nn.Sequential | nn.ModuleList) and len(blocks) >= STAGES
        if listed and hasattr(network, "patch_embed"):
            self.indices = [-(-len(blocks) * (stage + 1) // STAGES) - 1 for stage in range(STAGES)]

    def walk(self, x_NCHW: Tensor) -> Walk:
        last, grids = self.network.forward_intermediates(x_NCHW, indices=self.indices)
        return Walk(list(grids), [EMPTY] * len(grids), self.network.forward_head(last))


def walked_shapes(backbone: nn.Module, image_shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return (C, *grid) of each stage for images (C, *spatial); a user's teacher has told its own.

    Raises:
        UsageError: It has no stages that anything knows of, or not four.
    """
    if isinstance(backbone, TeacherBackbone):
        walker(backbone)  # refuses what has not four
        return list(backbone.stages)
    return stage_shapes(backbone, image_shape, walker)


def walker(backbone: nn.Module) -> Walker:
    """Return a network in its four stages; weights are shared, nothing is copied.

    Raises:
        UsageError: It has no stages that anything knows of, or not four.
    """
    if isinstance(backbone, TeacherBackbone):
        if len(backbone.stages) != STAGES:
            raise UsageError(
                f"a teacher with {len(backbone.stages)} stages",
                required=f"{STAGES} grids in what its features() returns, one a stage",
                fix="name as many (foundation.features of an ONNX file), or take method rd, which needs none",
            )
        return _Taught(backbone)
    if is_timm(backbone):
        if not hasattr(backbone, "forward_intermediates"):
            raise UsageError(
                f"a {type(backbone).__name__} of timm in stages",
                required="a network that gives intermediate features (forward_intermediates)",
                fix="choose another backbone, or method rd, which needs no stages",
            )
        return _Timm(backbone)
    return staged(backbone)
