"""Classification: one of the region's classes a sample.

Shape legend: N samples, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

from lorkit.decompose import metrics
from lorkit.decompose.errors import DataError
from lorkit.decompose.regions import Region


class Classification:
    """Mutually exclusive classes, decoded by the largest logit."""

    name = "classification"
    output = "logits"
    loss = "cross_entropy"
    headline = "balanced_accuracy"
    dense = False

    def outputs(self, region: Region) -> int:
        """Return the number of classes."""
        return len(region.classes)

    def check(self, region: Region, labels: NDArray[np.int64]) -> None:
        """Raise DataError when a label is no index of the region's classes."""
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(region.classes):
            raise DataError(
                f"labels {int(labels.min())} to {int(labels.max())} in region '{region.name}'",
                required=f"0 to {len(region.classes) - 1} ({', '.join(region.classes)})",
                fix="correct the labels or state all classes",
            )

    def decode(self, region: Region, outputs: ArrayLike, *, top: int = 1) -> list[dict[str, Any]]:
        """Return `label`, `probability` and the `top` most probable classes of each of the (N, C) logits."""
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
            {
                "label": region.classes[order_C[0]],
                "probability": float(probability_C[order_C[0]]),
                "top": [{"label": region.classes[i], "probability": float(probability_C[i])} for i in order_C],
            }
            for order_C, probability_C in zip(order_NC, probability_NC, strict=True)
        ]

    def scores(
        self, region: Region, labels: ArrayLike, outputs: ArrayLike, groups: Sequence[str], *, seed: int = 0
    ) -> dict[str, Any]:
        """Score (N, C) logits; see `metrics.scores`."""
        return metrics.scores(labels, outputs, groups, classes=region.classes, seed=seed)
