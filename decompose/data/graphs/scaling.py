"""Scaling of the features of nodes, fitted on training nodes. Shapes: N nodes, F features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array, Floats, Ints
from lorkit.decompose.errors import DataError

ScalingKind = Literal["log-standard", "standard", "none"]


def _signed_log(values_NF: Floats) -> Floats:
    return np.sign(values_NF) * np.log1p(np.abs(values_NF))


_BEFORE: dict[ScalingKind, Callable[[Floats], Floats]] = {
    "log-standard": _signed_log,
    "standard": np.asarray,
    "none": np.asarray,
}


@dataclass(frozen=True, kw_only=True)
class FeatureScaling:
    """A transform of each feature by itself, so that a node is scaled the same with any other nodes beside it.

    Features may be negative and differ by orders of magnitude (amounts, counts), for which a division by the sum of a
    row, as in the published code, is not defined.

    Attributes:
        kind: "log-standard": sign(x) log1p(|x|), then (x - mean) / std; "standard": without the logarithm; "none":
            as is.
        mean: Mean of each feature over the training nodes, after the logarithm.
        std: Its standard deviation there; 1 where a feature is constant.
    """

    kind: ScalingKind
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def fit(cls, kind: ScalingKind, features_NF: Float32Array | Floats, rows: Ints) -> FeatureScaling:
        """Return the scaling that the training nodes `rows` determine; no other node is read.

        Raises:
            DataError: There is no training node.
        """
        if not len(rows):
            raise DataError("no training node", required="at least one", fix="correct the split")
        features = features_NF.shape[1]
        if kind == "none":
            return cls(kind=kind, mean=(0.0,) * features, std=(1.0,) * features)
        values = _BEFORE[kind](np.asarray(features_NF[rows], dtype=np.float64))
        mean, std = values.mean(0), values.std(0)
        # rounding leaves a constant feature a deviation of some units in the last place
        constant = (values == values[0]).all(0)
        return cls(kind=kind, mean=tuple(mean.tolist()), std=tuple(np.where(constant, 1.0, std).tolist()))

    def apply(self, features_NF: Float32Array | Floats) -> Float32Array:
        """Return the scaled features, (N, F).

        Raises:
            DataError: Another number of features, or a value that is not finite, before or after.
        """
        if features_NF.ndim != 2 or features_NF.shape[1] != len(self.mean):
            raise DataError(
                f"features of shape {features_NF.shape}",
                required=f"{len(self.mean)} features per node, as in training",
                fix="use the features of the training data, in their order",
            )
        values = _BEFORE[self.kind](np.asarray(features_NF, dtype=np.float64))
        with np.errstate(over="ignore"):  # reported below
            scaled: Float32Array = ((values - self.mean) / self.std).astype(np.float32)
        rows, columns = np.nonzero(~np.isfinite(scaled))
        if len(rows):
            raise DataError(
                f"feature {columns[0] + 1} of node {rows[0]} is {features_NF[rows[0], columns[0]]}, scaled"
                f" {scaled[rows[0], columns[0]]}",
                required="finite numbers",
                fix="fill such values in, or scale with log-standard",
            )
        return scaled
