"""The protocol of a network in stages, into which features can be injected, and its two plain forms.

Shapes: N images, C channels of a stage, *grid its positions (2D or 3D), F features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

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

    def forward_from(self, stage: int, grid: Tensor, context: StageContext = EMPTY) -> Tensor:
        """Continue from a stage's grid: down to the bottleneck, then up with the skips of `context`."""
        grids = [*context.skips, grid]
        for level in self.levels[stage + 1 :]:
            grids.append(level(grids[-1]))
        return self.decode(context.stem, grids)
