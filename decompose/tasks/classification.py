"""Classification: one of the region's classes per sample.

Shape legend: N samples, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.documents.network import Decision
from lorkit.decompose.documents.predict import LabelProbability
from lorkit.decompose.errors import DataError
from lorkit.decompose.metrics import HEADLINE
from lorkit.decompose.metrics.probabilities import softmax
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks.base import CERTAIN, ScoreInputs, Task, unanswered

if TYPE_CHECKING:
    from torch import Tensor

    from lorkit.decompose.documents.scores import TaskScores
    from lorkit.decompose.metrics import PairedDrop


def most_probable(region: Region, outputs: ArrayLike, *, top: int = 1) -> list[list[LabelProbability]]:
    """Return the `top` most probable classes for each of the (N, C) logits, the best first.

    Raises:
        DataError: The logits are not of this region.
    """
    logit_NC = np.asarray(outputs, dtype=np.float64)
    if logit_NC.ndim != 2 or logit_NC.shape[1] != len(region.classes):
        raise DataError(
            f"outputs of shape {logit_NC.shape} for region '{region.name}'",
            required=f"(N, {len(region.classes)})",
            fix="use the network of this region",
        )
    probability_NC = softmax(logit_NC, axis=1)
    # by logit, not probability: saturated probabilities tie; stable, so that equal logits keep class order
    order_NC = np.argsort(-logit_NC, axis=1, kind="stable")[:, : max(1, top)]
    return [
        [LabelProbability(label=region.classes[i], probability=float(probability_C[i])) for i in order_C]
        for order_C, probability_C in zip(order_NC, probability_NC, strict=True)
    ]


class Classification(Task):
    """Mutually exclusive classes, decoded by the largest logit."""

    name = "classification"
    headline = validation = "balanced_accuracy"
    metrics: tuple[str, ...] = HEADLINE
    dense = False

    def outputs(self, region: Region) -> int:
        """Return the number of classes."""
        return len(region.classes)

    def own_targets(self, label: Tensor, logits: Tensor) -> Tensor:
        """Return the class of each sample: the first value in a batch of several tasks."""
        return label if label.dim() == 1 else label[:, 0]

    def loss(self, logits: Tensor, target: Tensor, smoothing: float = 0.0, pos_weight: Tensor | None = None) -> Tensor:
        """Return the cross-entropy of each sample, (n,)."""
        from lorkit.decompose.tasks.losses import cross_entropy  # needs torch, which scoring does not

        return cross_entropy(logits, target, smoothing)

    def score_inputs(self, outputs: ArrayLike, targets: ArrayLike) -> ScoreInputs:
        """Return the (N, C) logits."""
        return np.asarray(outputs, dtype=np.float32)

    def scores_by_case(self, region: Region, targets: ArrayLike, score_inputs: ArrayLike) -> NDArray[np.float64]:
        """Return (N, C): in the column of the true class 1 for a hit and 0 for a miss, else NaN."""
        label_N, logit_NC = np.asarray(targets), np.asarray(score_inputs)
        hit_N = (logit_NC.argmax(1) == label_N).astype(np.float64)
        own_NC = label_N[:, None] == np.arange(len(region.classes))
        return np.where(own_NC, hit_N[:, None], np.nan)

    def paired(
        self,
        region: Region,
        targets: ArrayLike,
        sides: tuple[ArrayLike, ArrayLike],
        groups: Sequence[str],
        *,
        seed: int = 0,
    ) -> PairedDrop:
        """Return the drop in balanced accuracy, with McNemar's test."""
        from lorkit.decompose.metrics import paired_drop

        return paired_drop(targets, *sides, groups, seed=seed)

    def recalls_by_case(self, region: Region, targets: ArrayLike, score_inputs: ArrayLike) -> NDArray[np.float64]:
        """Return the (N, C) `scores_by_case`: their mean is the recall of a class."""
        return self.scores_by_case(region, targets, score_inputs)

    def answered(self, region: Region, score_inputs: ArrayLike) -> NDArray[np.bool_]:
        """Return (N, C): whether a class has the largest logit of a sample."""
        answer_NC: NDArray[np.bool_] = np.asarray(score_inputs).argmax(1)[:, None] == np.arange(len(region.classes))
        return answer_NC & ~unanswered(score_inputs)

    def chance(self, region: Region, targets: ArrayLike) -> float | None:
        """Return 1/C for the C classes of the targets: the balanced accuracy of one answer for all samples."""
        return 1.0 / max(1, len(np.unique(np.asarray(targets))))

    def defined(self, targets: ArrayLike) -> NDArray[np.bool_]:
        """Return (N, C): the true class of each sample, of the classes that there are."""
        label_N = np.asarray(targets)
        found: NDArray[np.bool_] = label_N[:, None] == np.unique(label_N)
        return found

    def wrong_outputs(self, region: Region, targets: ArrayLike, spatial: Sequence[int] = ()) -> Float32Array:
        """Return (N, C) logits whose least probable class is the true one."""
        own_NC = np.asarray(targets)[:, None] == np.arange(len(region.classes))
        return np.where(own_NC, -CERTAIN, 0.0).astype(np.float32)

    def scores(
        self,
        region: Region,
        targets: ArrayLike,
        score_inputs: ArrayLike,
        groups: Sequence[str],
        *,
        seed: int = 0,
        decision: Decision | None = None,
    ) -> TaskScores:
        """Score (N, C) logits; see `metrics.scores`."""
        from lorkit.decompose.metrics import classification

        found = classification.scores(targets, score_inputs, groups, classes=region.classes, seed=seed)
        from lorkit.decompose.documents.scores import ClassificationScores

        return ClassificationScores.model_validate(found)
