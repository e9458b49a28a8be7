"""A vision transformer in stages.

Shapes: N images, S tokens, R of them class and register tokens, D width, *grid of the patches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.backbones.stages import (
    EMPTY,
    STAGES,
    Encoding,
    StageContext,
    StageFunction,
    StageOutputs,
    runs_of,
)


class TransformerStages:
    """A vision transformer in four runs of blocks; grids are its patch tokens, class and register tokens are context.

    With `by_token` the last grid is the class and register tokens, (N, D, R, 1), the only input of the features. With
    `dense` it is the grid of patch tokens after the last norm, which are the features.

    Args:
        blocks: The blocks, tokens to tokens.
        prefix: R, the class and register tokens in front of the patch tokens.
        embed: Images to tokens (N, R + patches, D) and the grid of the patches.
        norm: The norm after the last block.
        pool: Tokens of the last block to features (N, F).
        by_token: Whether the features depend only on the class and register tokens.
        dense: Whether the features are those of patches.
    """

    def __init__(
        self,
        blocks: Sequence[StageFunction],
        prefix: int,
        *,
        embed: Callable[[Tensor], tuple[Tensor, tuple[int, ...]]],
        norm: StageFunction,
        pool: StageFunction,
        by_token: bool,
        dense: bool,
    ) -> None:
        self.stages = [blocks[run] for run in runs_of(len(blocks))]
        self.prefix, self.embed, self.norm, self.pool = prefix, embed, norm, pool
        self.by_token, self.dense = by_token and not dense, dense

    def run_stages(self, x: Tensor) -> StageOutputs:
        """Run the whole network."""
        x, size = self.embed(x)
        grids: list[Tensor] = []
        context: list[StageContext] = []
        for stage in range(STAGES):
            x = self._run(stage, x)
            grids.append(self._grid(stage, x, size))
            context.append(StageContext(x[:, : self.prefix]))
        if self.by_token or self.dense:
            context[-1] = EMPTY
        return StageOutputs(grids, context, grids[-1] if self.dense else self.pool(x))

    def first_grid(self, x: Tensor) -> tuple[Tensor, StageContext]:
        """Run the embedding and the first blocks."""
        x, size = self.embed(x)
        x = self._run(0, x)
        return self._grid(0, x, size), StageContext(x[:, : self.prefix])

    def forward_from(self, stage: int, grid: Tensor, context: StageContext = EMPTY) -> Tensor:
        """Continue from a stage's grid."""
        encoding = self.encode_from(stage, grid, context)
        if self.dense:
            return encoding.grids[-1]
        return self.pool(encoding.last[:, : self.prefix] if self.by_token else encoding.last)

    def encode_from(self, stage: int, grid: Tensor, context: StageContext = EMPTY) -> Encoding:
        """Return the grid and those of the later stages, and the tokens of the last block."""
        x, grids = self._tokens(stage, grid, context), [grid]
        for later in range(stage + 1, STAGES):
            x = self._run(later, x)
            grids.append(self._grid(later, x, tuple(grid.shape[2:])))
        return Encoding(x, tuple(grids))

    def pooled(self, last: Tensor) -> Tensor:
        """Return the features of the last block's tokens."""
        return self.pool(last)

    def _run(self, stage: int, x: Tensor) -> Tensor:
        for block in self.stages[stage]:
            x = block(x)
        return x

    def _grid(self, stage: int, x: Tensor, size: tuple[int, ...]) -> Tensor:
        last = stage == STAGES - 1
        if last and self.by_token:
            return x[:, : self.prefix].transpose(1, 2)[..., None]
        patches = x[:, self.prefix :]
        if last and self.dense:
            patches = self.norm(patches)
        patches = patches.transpose(1, 2)
        return patches.reshape(*patches.shape[:2], *size)

    def _tokens(self, stage: int, grid: Tensor, context: StageContext) -> Tensor:
        patches = grid.flatten(2).transpose(1, 2)
        if context.tokens is not None:
            return torch.cat((context.tokens, patches), dim=1)
        if self.prefix and stage < STAGES - 1:
            raise UsageError(
                "patch tokens without a class token",
                required="the student's own, from `run_stages`",
                fix="pass its context",
            )
        return patches
