"""The protocol of a network in stages, into which features can be injected, and its convolutional forms.

Shapes: N images, C channels of a stage, *grid its positions (2D or 3D), F features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
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


class Encoding(NamedTuple):
    """The stages of a network, from one of them on or all, before pooling and before a decoder.

    Attributes:
        last: (N, ...) input of pooling: the last grid, or all tokens of a transformer.
        grids: (N, C, *grid) of each stage.
        stem: Outputs before the first stage that a decoder uses.
    """

    last: Tensor
    grids: tuple[Tensor, ...]
    stem: tuple[Tensor, ...] = ()

    def rows(self, parts: Sequence[slice]) -> Encoding:
        """Return some rows of every tensor; views if they are contiguous."""
        grids, stem = ([_rows(value, parts) for value in values] for values in (self.grids, self.stem))
        return Encoding(_rows(self.last, parts), tuple(grids), tuple(stem))


def _rows(value: Tensor, parts: Sequence[slice]) -> Tensor:
    pieces = [value[part] for part in parts]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


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
    """A backbone in stages that can also stop before its features."""

    def encode_from(self, stage: int, grid: Tensor, context: StageContext = EMPTY) -> Encoding:
        """Return the grid of a stage and those of the later ones, without features."""
        ...

    def pooled(self, last: Tensor) -> Tensor:
        """Return the features (N, F) for the `last` of an encoding."""
        ...


class Forked(Protocol):
    """A backbone for classes and for masks: pooled features of its last stage, and maps of the image's size."""

    def first_grid(self, x: Tensor) -> tuple[Tensor, StageContext]:
        """As `Staged.first_grid`."""
        ...

    def encode_from(self, stage: int, grid: Tensor, context: StageContext = EMPTY) -> Encoding:
        """Return all stages, given the grid of one and the context of the earlier ones."""
        ...

    def pooled(self, last: Tensor) -> Tensor:
        """Return pooled features (N, F) for the `last` of an encoding."""
        ...

    def maps(self, encoding: Encoding) -> Tensor:
        """Return maps (N, M, *spatial)."""
        ...


def runs_of(count: int) -> list[slice]:
    """Return four runs of `count` blocks, as equal as can be; with less than four blocks, some are empty."""
    ends = [-(-count * (stage + 1) // STAGES) for stage in range(STAGES)]
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


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
        return self.tail(self.encode_from(stage, grid, context).last)

    def encode_from(self, stage: int, grid: Tensor, context: StageContext = EMPTY) -> Encoding:
        """Return the grid and those of the later stages."""
        del context
        grids = [grid]
        for later in self.stages[stage + 1 :]:
            grids.append(later(grids[-1]))
        return Encoding(grids[-1], tuple(grids))

    def pooled(self, last: Tensor) -> Tensor:
        """Return the features."""
        return self.tail(last)


def mean_of_positions(grid: Tensor) -> Tensor:
    """Return (N, C), the mean over positions of (N, C, *grid)."""
    return grid.flatten(2).mean(2)


class EncoderDecoder:
    """A U-Net: its stages are the levels of the encoder, the last is the bottleneck; the decoder uses all grids.

    Args:
        stem: Images to the outputs before the first stage, the last of which enters it.
        levels: The stages.
        decode: (stem, grids of all stages) to maps, the features.
        pool: The bottleneck to pooled features.
    """

    def __init__(
        self,
        stem: Callable[[Tensor], tuple[Tensor, ...]],
        levels: Sequence[StageFunction],
        decode: Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor],
        pool: StageFunction = mean_of_positions,
    ) -> None:
        self.stem, self.levels, self.decode, self.pooled = stem, tuple(levels), decode, pool

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
        return self.maps(self.encode_from(stage, grid, context))

    def encode_from(self, stage: int, grid: Tensor, context: StageContext = EMPTY) -> Encoding:
        """Continue down to the bottleneck."""
        grids = [*context.skips, grid]
        for level in self.levels[stage + 1 :]:
            grids.append(level(grids[-1]))
        return Encoding(grids[-1], tuple(grids), context.stem)

    def maps(self, encoding: Encoding) -> Tensor:
        """Run the decoder."""
        return self.decode(encoding.stem, encoding.grids)

    def without_decoder(self, head: StageFunction) -> SequentialStages:
        """Return the encoder, with a head on the pooled bottleneck."""
        first, *later = self.levels
        return SequentialStages([lambda x: first(self.stem(x)[-1]), *later], lambda last: head(self.pooled(last)))
