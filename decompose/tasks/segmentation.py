"""Segmentation: background or one of the region's structures for each pixel.

Shape legend: N samples, n of one region in a batch, K = 1 + S channels, S structures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lorkit.decompose.artifacts.arrays import IGNORED, Float32Array
from lorkit.decompose.documents.network import Decision
from lorkit.decompose.documents.scores import SegmentationScores
from lorkit.decompose.metrics import segmentation
from lorkit.decompose.metrics.bootstrap import safe_divide
from lorkit.decompose.metrics.paired import UNSEEN_DICE
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks.base import CERTAIN, ScoreInputs, Task

if TYPE_CHECKING:
    from torch import Tensor


class Segmentation(Task):
    """Mutually exclusive structures over a background, decoded by the largest logit of each pixel."""

    name = "segmentation"
    headline = "dice"
    metrics: tuple[str, ...] = ("dice", "nsd", "hd95", "dice_network_grid")
    validation = "dice_network_grid"
    dense = True
    unseen = UNSEEN_DICE
    graded = True

    def outputs(self, region: Region) -> int:
        """Return the number of structures plus one for the background."""
        return 1 + len(region.classes)

    def own_targets(self, label: Tensor, logits: Tensor) -> Tensor:
        """Return the masks, which are flat in a batch of several tasks."""
        shape = logits.shape[2:]
        return label if label.shape[1:] == shape else label[:, : shape.numel()].reshape(-1, *shape)

    def loss(self, logits: Tensor, target: Tensor, smoothing: float = 0.0, pos_weight: Tensor | None = None) -> Tensor:
        """Return the Dice loss plus the mean cross-entropy of pixels of each sample, (n,).

        Dice is of the softmax, the mean over structures; the background is left out, because it would be nearly right
        whatever the network does. Cross-entropy has it: both come from one softmax. Ignored pixels count in neither.
        """
        from lorkit.decompose.tasks.losses import cross_entropy, dice_loss

        counted = target != IGNORED
        entropy = cross_entropy(logits, target, smoothing, ignored=IGNORED).flatten(1).sum(1)
        return dice_loss(logits, target, counted) + entropy / counted.flatten(1).sum(1).clamp_min(1)

    def score_inputs(self, outputs: ArrayLike, targets: ArrayLike) -> ScoreInputs:
        """Return (N, S, 3) counts of pixels on the network's grid; see `metrics.segmentation.overlap_counts`."""
        return segmentation.overlap_counts(outputs, targets)

    def scores_by_case(self, region: Region, targets: ArrayLike, score_inputs: ArrayLike) -> NDArray[np.float64]:
        """Return the (N, S) Dice of each sample, from the first columns; NaN if neither mask has the structure."""
        return segmentation.dice(score_inputs)

    def recalls_by_case(self, region: Region, targets: ArrayLike, score_inputs: ArrayLike) -> NDArray[np.float64]:
        """Return (N, S): the share of the pixels of each structure that are found; NaN if the true mask has none."""
        counts_NS3 = np.asarray(score_inputs, dtype=np.float64)
        return safe_divide(counts_NS3[..., 0], counts_NS3[..., 2])

    def answered(self, region: Region, score_inputs: ArrayLike) -> NDArray[np.bool_]:
        """Return (N, S): whether the predicted mask has a structure."""
        return np.asarray(score_inputs)[..., 1] > 0

    def chance(self, region: Region, targets: ArrayLike) -> float | None:
        """Return None: the Dice of a network that ignores its images depends on the shapes in the masks."""
        return None

    def defined(self, targets: ArrayLike) -> NDArray[np.bool_]:
        """Return (N, 1), all true: Dice may be defined by the predicted mask too."""
        return np.ones((len(np.asarray(targets)), 1), dtype=np.bool_)

    def wrong_outputs(self, region: Region, targets: ArrayLike, spatial: Sequence[int] = ()) -> Float32Array:
        """Return (N, 1 + S, *spatial) logits of empty masks."""
        empty = np.zeros((len(np.asarray(targets)), self.outputs(region), *spatial), np.float32)
        empty[:, 0] = CERTAIN
        return empty

    def scores(
        self,
        region: Region,
        targets: ArrayLike,
        score_inputs: ArrayLike,
        groups: Sequence[str],
        *,
        seed: int = 0,
        decision: Decision | None = None,
    ) -> SegmentationScores:
        """Score (N, S, 9) numbers; see `metrics.segmentation.mask_scores`."""
        found = segmentation.mask_scores(score_inputs, groups, region.classes, seed=seed)
        return SegmentationScores.model_validate({**found, "empty_cases": segmentation.EMPTY_CASES})
