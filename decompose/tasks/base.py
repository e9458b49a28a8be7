"""What a task has to answer about a region's outputs; one file a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lorkit.decompose.regions import Region


class Task(Protocol):
    """The meaning of a network's outputs: targets, loss, decoding, metrics and names.

    Attributes:
        name: As the configuration states it.
        output: Name of the graph's output.
        loss: Name of the training loss.
        headline: The metric that early stopping, the gate and comparisons judge by.
        dense: Whether outputs are maps, one value a pixel.
    """

    name: str
    output: str
    loss: str
    headline: str
    dense: bool

    def outputs(self, region: Region) -> int:
        """Return how many numbers the network delivers a sample."""
        ...

    def check(self, region: Region, labels: NDArray[np.int64]) -> None:
        """Raise DataError where targets do not fit the region."""
        ...

    def decode(self, region: Region, outputs: ArrayLike, *, top: int = 1) -> list[dict[str, Any]]:
        """Turn (N, outputs) into one plain row a sample, in words."""
        ...

    def scores(
        self, region: Region, labels: ArrayLike, outputs: ArrayLike, groups: Sequence[str], *, seed: int = 0
    ) -> dict[str, Any]:
        """Return the metrics of an `evaluate` document's region block."""
        ...
