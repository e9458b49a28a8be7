"""The protocol of a network in stages, into which features can be injected, and its two plain forms.

Shapes: N images, C channels of a stage, *grid its positions (2D or 3D), F features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from lorkit.decompose.errors import UsageError

STAGES = 4
StageFunction = Callable[[Tensor], Tensor]


class StageContext(NamedTuple):
    """Inputs of the rest of a network besides the grid of a stage.

    Attributes:
        tokens: A transformer's class and register tokens (N, R, D) at this stage, else None.
        stem: Outputs before the first stage that are used again after the last (a U-Net's finest skips).
        skips: Grids of the earlier stages, in order, if the rest of the network uses them; else empty.
    """

    tokens: Tensor | None = None
    stem: tuple[Tensor, ...] = ()
    skips: tuple[Tensor, ...] = ()


EMPTY = StageContext()


class StageOutputs(NamedTuple):
    """One pass through all stages.

    Attributes:
        grids: (N, C, *grid) of each stage.
        context: Further inputs of `forward_from`, by stage.
        features: (N, F), or (N, F, *spatial) for dense outputs: the output of the backbone.
    """

    grids: list[Tensor]
    context: list[StageContext]
    features: Tensor


class HasStages(Protocol):
    """A network with stages."""

    def run_stages(self, x: Tensor) -> StageOutputs:
        """Run the whole network on (N, C, *spatial)."""
        ...


class Staged(HasStages, Protocol):
    """A backbone in stages, each of which can be entered."""

    def first_grid(self, x: Tensor) -> tuple[Tensor, StageContext]:
        """Run only the first stage on (N, C, *spatial): its grid, and the further inputs of `forward_from`."""
        ...

    def forward_from(self, stage: int, grid: Tensor, context: StageContext = EMPTY) -> Tensor:
        """Return the features for a grid in place of a stage's output; stages count from 0."""
        ...


class Gridded(Staged, Protocol):
    """A backbone in stages that can also return the grids of its later stages."""

    def later_grids(self, stage: int, grid: Tensor, context: StageContext = EMPTY) -> list[Tensor]:
        """Return the grids of the stages after `stage`, given its own."""
        ...


class SequentialStages:
    """A network whose stages map grids to grids.

    Args:
        stages: The stages.
        tail: The rest, from the last grid to features.
    """

    def __init__(self, stages: Sequence[StageFunction], tail: StageFunction) -> None:
        self.stages, self.tail = tuple(stages), tail

    def run_stages(self, x: Tensor) -> StageOutputs:
        """Run the whole network."""
        grids: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            grids.append(x)
        return StageOutputs(grids, [EMPTY] * len(grids), self.tail(x))

    def first_grid(self, x: Tensor) -> tuple[Tensor, StageContext]:
        """Run the first stage."""
        return self.stages[0](x), EMPTY

    def forward_from(self, stage: int, grid: Tensor, context: StageContext = EMPTY) -> Tensor:
        """Continue from a stage's grid."""
        return self.tail([grid, *self.later_grids(stage, grid, context)][-1])

    def later_grids(self, stage: int, grid: Tensor, context: StageContext = EMPTY) -> list[Tensor]:
        """Return the grids of the later stages."""
        del context
        grids = [grid]
        for later in self.stages[stage + 1 :]:
            grids.append(later(grids[-1]))
        return grids[1:]


class EncoderDecoder:
    """A U-Net: its stages are the levels of the encoder, the last is the bottleneck; the decoder uses all grids.

    Args:
        stem: Images to the outputs before the first stage, the last of which enters it.
        levels: The stages.
        decode: (stem, grids of all stages) to features.
    """

    def __init__(
        self,
        stem: Callable[[Tensor], tuple[Tensor, ...]],
        levels: Sequence[StageFunction],
        decode: Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor],
    ) -> None:
        self.stem, self.levels, self.decode = stem, tuple(levels), decode

    def run_stages(self, x: Tensor) -> StageOutputs:
        """Run the whole network."""
        stem = self.stem(x)
        grids: list[Tensor] = []
        for level in self.levels:
            grids.append(level(grids[-1] if grids else stem[-1]))
        context = [StageContext(None, stem, tuple(grids[:stage])) for stage in range(len(grids))]
        return StageOutputs(grids, context, self.decode(stem, grids))

    def first_grid(self, x: Tensor) -> tuple[Tensor, StageContext]:
        """Run the stem and the first level."""
        stem = self.stem(x)
        return self.levels[0](stem[-1]), StageContext(None, stem)

    def forward_from(self, stage: int, grid: Tensor, context: StageContext = EMPTY) -> Tensor:
        """Continue from a stage's grid: down to the bottleneck, then up with the skips of `context`."""
        grids = [*context.skips, grid]
        for level in self.levels[stage + 1 :]:
            grids.append(level(grids[-1]))
        return self.decode(context.stem, grids)


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
        ends = [-(-len(blocks) * (stage + 1) // STAGES) for stage in range(STAGES)]
        self.stages = [blocks[start:end] for start, end in zip([0, *ends], ends, strict=False)]
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
        x, grids = self._later(stage, grid, context)
        if self.dense:
            return [grid, *grids][-1]
        return self.pool(x[:, : self.prefix] if self.by_token else x)

    def later_grids(self, stage: int, grid: Tensor, context: StageContext = EMPTY) -> list[Tensor]:
        """Return the grids of the later stages."""
        return self._later(stage, grid, context)[1]

    def _later(self, stage: int, grid: Tensor, context: StageContext) -> tuple[Tensor, list[Tensor]]:
        """Return the tokens of the last block, and the grids of the later stages."""
        x, grids = self._tokens(stage, grid, context), []
        for later in range(stage + 1, STAGES):
            x = self._run(later, x)
            grids.append(self._grid(later, x, tuple(grid.shape[2:])))
        return x, grids

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
