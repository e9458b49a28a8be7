"""What a task has to answer about a region's outputs; one file a task.

Shapes: N samples, n of one region in a batch, K outputs a sample or pixel, S classes or structures; `spatial` is empty
for one answer per sample, and the image's grid where a task is dense.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lorkit.decompose.documents.scores import TaskScores
from lorkit.decompose.regions import Region

if TYPE_CHECKING:
    from torch import Tensor

ScoreInputs = NDArray[Any]
"""What is kept of each sample's outputs to score it by, (N, ...): logits, or a dense task's counts of pixels."""


class Task(Protocol):
    """The meaning of a network's outputs: targets, loss, decoding, metrics and names.

    Attributes:
        name: As the configuration states it.
        output: Name of the graph's output.
        headline: The metric that the best epoch, the gate and comparisons judge by.
        metrics: The metrics of a region's block that are averaged over regions.
        dense: Whether outputs are maps of the image's size.
    """

    name: str
    output: str
    headline: str
    metrics: tuple[str, ...]
    dense: bool

    def outputs(self, region: Region) -> int:
        """Return how many numbers the network delivers a sample, or a pixel."""
        ...

    def check(self, region: Region, targets: NDArray[Any]) -> None:
        """Raise DataError where targets do not fit the region."""
        ...

    def loss(self, logits: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
        """Return the training loss of each sample, (n,) float32 or wider whatever the autocast precision.

        Args:
            logits: (n, K, *spatial).
            target: (n, *spatial) int64.
            smoothing: Label smoothing of the cross-entropy.
        """
        ...

    def divergence(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Return T^2 KL(teacher || student) of each sample, (n,); the mean over pixels where the task is dense.

        Args:
            student: (n, K, *spatial) logits.
            teacher: As `student`.
            temperature: T.
        """
        ...

    def score_inputs(self, outputs: ArrayLike, targets: ArrayLike) -> ScoreInputs:
        """Keep of outputs (N, K, *spatial) what `scores_by_case` and `scores` need: a sample's own row, small."""
        ...

    def scores_by_case(self, region: Region, targets: ArrayLike, score_inputs: ArrayLike) -> NDArray[np.float64]:
        """Return (N, S) in [0, 1]: how right a sample is about each class, NaN where it says nothing about it.

        The headline is the mean over classes of the mean over samples.
        """
        ...

    def groups_of_rarest_class(self, targets: ArrayLike, groups: Sequence[str]) -> tuple[int, float]:
        """Return how many groups could have shown a difference that none did, and what it weighs in the headline."""
        ...

    def scores(
        self, region: Region, targets: ArrayLike, score_inputs: ArrayLike, groups: Sequence[str], *, seed: int = 0
    ) -> TaskScores:
        """Return the metrics of an `evaluate` document's region block."""
        ...
