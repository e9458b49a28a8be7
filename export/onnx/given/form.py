"""What a given network takes and returns, by its recipe, beside what this project's graphs take and return."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.documents.given import GivenInfo
from lorkit.decompose.documents.recipe import Recipe
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks import get_task


@dataclass(frozen=True, kw_only=True)
class GivenForm:
    """The form of a given network: images (N, C, *spatial) or (N, *spatial, C) to logits, or to probabilities.

    Attributes:
        region: Its region, with the classes in the order of its outputs.
        recipe: Preprocessing; its mean and std are applied before the network.
        channels_last: Where the network's images, and its masks, have their channels.
        probabilities: Whether it ends in a softmax or sigmoid.
    """

    region: Region
    recipe: Recipe
    channels_last: bool
    probabilities: bool

    @classmethod
    def of(cls, info: GivenInfo, region: Region, recipe: Recipe) -> GivenForm:
        """Return the form that `network.json` states."""
        last, probabilities = info.layout == "channels-last", info.output == "probabilities"
        return cls(region=region, recipe=recipe, channels_last=last, probabilities=probabilities)

    @property
    def dense(self) -> bool:
        """Whether it returns a mask."""
        return get_task(self.region.task).dense

    @property
    def exclusive(self) -> bool:
        """Whether one of the classes applies, so that a softmax and not a sigmoid follows."""
        return get_task(self.region.task).exclusive

    @property
    def outputs(self) -> int:
        """Number of logits, of a mask at each place."""
        return get_task(self.region.task).outputs(self.region)

    @property
    def spatial(self) -> tuple[int, ...]:
        """Sides of the images."""
        return self.recipe.shape[1:]

    @property
    def taken(self) -> tuple[int, ...]:
        """The shape of one image as the network takes it."""
        channels, *spatial = self.recipe.shape
        return (*spatial, channels) if self.channels_last else (channels, *spatial)

    @property
    def to_network(self) -> list[int] | None:
        """Order of axes that turns (N, C, *spatial) into what the network takes; None: as it is."""
        rank = 1 + len(self.taken)
        return [0, *range(2, rank), 1] if self.channels_last else None

    @property
    def from_network(self) -> list[int] | None:
        """Order of axes that turns its masks into (N, C, *spatial); None: as they are."""
        rank = 1 + len(self.taken)
        return [0, rank - 1, *range(1, rank - 1)] if self.channels_last and self.dense else None

    def returned(self, count: int) -> tuple[int, ...]:
        """Return the shape of `count` outputs per image as the network returns them, without the batch."""
        if not self.dense:
            return (count,)
        return (*self.spatial, count) if self.channels_last else (count, *self.spatial)

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Return whether an output has this form; one logit stands for the second of two classes."""
        return shape == self.returned(self.outputs) or (self.is_single(shape) and self.outputs == 2)

    def is_single(self, shape: tuple[int, ...]) -> bool:
        """Return whether an output has one logit, of the second of two exclusive classes."""
        return self.exclusive and shape == self.returned(1)

    def scale(self) -> tuple[Float32Array, Float32Array]:
        """Return mean and std by channel, (1, C, 1, ...)."""
        step, ones = self.recipe.normalise, (1,) * len(self.spatial)
        mean, std = (np.array(values, dtype=np.float32).reshape(1, -1, *ones) for values in (step.mean, step.std))
        return mean, std
