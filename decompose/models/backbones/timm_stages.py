"""Stages of timm's networks with one of three common structures.

- ResNets and similar (`conv1`, `layer1` to `layer4`): as the ResNets of this project.
- Networks of a `stem` and four `stages` (ConvNeXt): its stages, the stem with the first.
- Vision transformers (`patch_embed`, `blocks`): four equal runs of blocks on the grid of patches; class and register
  tokens are context. If only these are pooled, they are the last grid, (N, D, R, 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from lorkit.decompose.models.backbones.stages import (
    EMPTY,
    STAGES,
    Gridded,
    SequentialStages,
    StageContext,
    StageOutputs,
)

LAYERS = tuple(f"layer{index + 1}" for index in range(STAGES))


def timm_stages(network: Any, *, dense: bool = False) -> Gridded | None:
    """Return a network of timm in stages, or None for another structure or network."""
    if not type(network).__module__.startswith("timm.") or not hasattr(network, "forward_head"):
        return None
    if all(hasattr(network, name) for name in ("conv1", "bn1", "act1", "maxpool", *LAYERS)):
        return _layers(network)
    if all(hasattr(network, name) for name in ("stem", "stages", "norm_pre")) and len(network.stages) == STAGES:
        return _stem_and_stages(network)
    blocks = getattr(network, "blocks", None)
    if isinstance(blocks, nn.Sequential) and len(blocks) >= STAGES and hasattr(network, "_pos_embed"):
        return TimmTransformer(network, dense=dense)
    return None


def _layers(network: Any) -> Gridded:
    first, *later = (network.get_submodule(name) for name in LAYERS)

    def stem(x: Tensor) -> Tensor:
        return cast(Tensor, first(network.maxpool(network.act1(network.bn1(network.conv1(x))))))

    return SequentialStages([stem, *later], network.forward_head)


def _stem_and_stages(network: Any) -> Gridded:
    first, *later = network.stages

    def stem(x: Tensor) -> Tensor:
        return cast(Tensor, first(network.stem(x)))

    def tail(x: Tensor) -> Tensor:
        return cast(Tensor, network.forward_head(network.norm_pre(x)))

    return SequentialStages([stem, *later], tail)


class TimmTransformer:
    """A vision transformer of timm; with `dense` the last grid is the patches after the last norm."""

    def __init__(self, network: Any, *, dense: bool = False) -> None:
        self.network, self.dense = network, dense
        blocks: list[Callable[[Tensor], Tensor]] = list(network.blocks)
        ends = [-(-len(blocks) * (stage + 1) // STAGES) for stage in range(STAGES)]
        self.stages = [blocks[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        self.first = int(network.num_prefix_tokens)
        self.by_token = not dense and network.global_pool == "token" and self.first > 0

    def run_stages(self, x: Tensor) -> StageOutputs:
        """Run the whole network."""
        size = self.network.patch_embed.dynamic_feat_size(tuple(x.shape[2:]))
        x = self.network._pos_embed(self.network.patch_embed(x))
        x = self.network.norm_pre(self.network.patch_drop(x))
        grids: list[Tensor] = []
        context: list[StageContext] = []
        for stage in self.stages:
            for block in stage:
                x = block(x)
            grids.append(self._patches(x, size))
            context.append(StageContext(x[:, : self.first]))
        grids[-1] = self._last(x, size)
        if self.by_token:
            context[-1] = EMPTY
        return StageOutputs(grids, context, grids[-1] if self.dense else self._tail(x))

    def forward_from(self, stage: int, grid: Tensor, context: StageContext = EMPTY) -> Tensor:
        """Continue from a stage's grid."""
        if self.dense:
            return [grid, *self.later_grids(stage, grid, context)][-1]
        return self._tail([_joined(grid, context), *self._later(stage, grid, context)][-1])

    def later_grids(self, stage: int, grid: Tensor, context: StageContext = EMPTY) -> list[Tensor]:
        """Return the grids of the later stages."""
        later, size = self._later(stage, grid, context), tuple(grid.shape[2:])
        return [*(self._patches(x, size) for x in later[:-1]), *(self._last(x, size) for x in later[-1:])]

    def _later(self, stage: int, grid: Tensor, context: StageContext) -> list[Tensor]:
        x, found = _joined(grid, context), []
        for later in self.stages[stage + 1 :]:
            for block in later:
                x = block(x)
            found.append(x)
        return found

    def _patches(self, x: Tensor, size: tuple[int, ...]) -> Tensor:
        patches = x[:, self.first :].transpose(1, 2)
        return patches.reshape(*patches.shape[:2], *size)

    def _last(self, x: Tensor, size: tuple[int, ...]) -> Tensor:
        if self.by_token:
            return x[:, : self.first].transpose(1, 2)[..., None]
        return self._patches(self.network.norm(x) if self.dense else x, size)

    def _tail(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.network.forward_head(self.network.norm(x)))


def _joined(grid: Tensor, context: StageContext) -> Tensor:
    tokens = grid.flatten(2).transpose(1, 2)
    return tokens if context.tokens is None else torch.cat((context.tokens, tokens), dim=1)
