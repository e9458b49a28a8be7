"""Scaling of the features of nodes, fitted on training nodes. Shapes: N nodes, F features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from lorkit.decompose.artifacts.arrays import Float32Array, Floats, Ints
from lorkit.decompose.config.graphs import NodeInput, Scaling
from lorkit.decompose.errors import DataError

Knots = tuple[tuple[float, ...], ...]
_KNOTS = 129
# scores of a normal distribution at these probabilities are 3.1 deviations from its mean: outliers come no further
_LOWEST, _HIGHEST = 0.001, 0.999


def _signed_log(values_NF: Floats, knots_FK: Knots) -> Floats:
    del knots_FK
    return np.sign(values_NF) * np.log1p(np.abs(values_NF))


def _normal_score(values_NF: Floats, knots_FK: Knots) -> Floats:
    """Return the normal score of each value: the deviate of its rank among the training nodes, by interpolation.

    The rank of a value that several knots share is the middle of theirs.
    """
    ranks_NF = np.empty(values_NF.shape)
    for feature, knots in enumerate(knots_FK):
        at, values = np.asarray(knots), values_NF[:, feature]
        share = np.linspace(0, 1, len(at))
        below, above = np.interp(values, at, share), np.interp(-values, -at[::-1], share)
        ranks_NF[:, feature] = (below + 1 - above) / 2
    scores: Floats = ndtri(ranks_NF.clip(_LOWEST, _HIGHEST))
    return scores


def _unchanged(values_NF: Floats, knots_FK: Knots) -> Floats:
    del knots_FK
    return values_NF


_BEFORE: dict[Scaling, Callable[[Floats, Knots], Floats]] = {
    "quantile": _normal_score,
    "log-standard": _signed_log,
    "standard": _unchanged,
    "none": _unchanged,
}


@dataclass(frozen=True, kw_only=True)
class FeatureScaling:
    """A transform of each feature by itself, so that a node is scaled the same with any other nodes beside it.

    Features may be negative and differ by orders of magnitude (amounts, counts), for which a division by the sum of a
    row, as in the published code, is not defined.

    Attributes:
        kind: "quantile": the normal score of the rank among the training nodes, then (x - mean) / std; "log-standard":
            sign(x) log1p(|x|) in place of the score; "standard": neither; "none": as is.
        mean: Mean of each feature over the training nodes, after the score or the logarithm.
        std: Its standard deviation there; 1 where a feature is constant.
        knots: Of "quantile": quantiles of each feature at equal steps of probability from 0 to 1, ascending.
    """

    kind: Scaling
    mean: tuple[float, ...]
    std: tuple[float, ...]
    knots: Knots = ()

    @classmethod
    def of(cls, nodes: NodeInput) -> FeatureScaling:
        """Return the scaling of a network's input."""
        return cls(kind=nodes.scaling, mean=nodes.mean, std=nodes.std, knots=nodes.knots)

    @classmethod
    def fit(cls, kind: Scaling, features_NF: Float32Array | Floats, rows: Ints) -> FeatureScaling:
        """Return the scaling that the training nodes `rows` determine; no other node is read.

        Raises:
            DataError: There is no training node.
        """
        if not len(rows):
            raise DataError("no training node", required="at least one", fix="correct the split")
        features = features_NF.shape[1]
        if kind == "none":
            return cls(kind=kind, mean=(0.0,) * features, std=(1.0,) * features)
        raw = np.asarray(features_NF[rows], dtype=np.float64)
        knots: Knots = ()
        if kind == "quantile":
            # a knot is a value of a node, so that a value of many nodes has a rank of its own
            quantiles = np.quantile(raw, np.linspace(0, 1, _KNOTS), axis=0, method="closest_observation")
            knots = tuple(map(tuple, quantiles.T.tolist()))
        values = _BEFORE[kind](raw, knots)
        mean, std = values.mean(0), values.std(0)
        # rounding leaves a constant feature a deviation of some units in the last place
        # 1 / std of one so small that no float32 shows it is infinite
        constant = (values == values[0]).all(0) | (std < np.finfo(np.float32).tiny)
        return cls(kind=kind, mean=tuple(mean.tolist()), std=tuple(np.where(constant, 1.0, std).tolist()), knots=knots)

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
        values = _BEFORE[self.kind](np.asarray(features_NF, dtype=np.float64), self.knots)
        with np.errstate(over="ignore"):  # reported below
            scaled: Float32Array = ((values - self.mean) / self.std).astype(np.float32)
        rows, columns = np.nonzero(~(np.isfinite(scaled) & np.isfinite(features_NF)))
        if len(rows):
            raise DataError(
                f"feature {columns[0] + 1} of node {rows[0]} is {features_NF[rows[0], columns[0]]}, scaled"
                f" {scaled[rows[0], columns[0]]}",
                required="finite numbers",
                fix="fill such values in, or scale with quantile or log-standard",
            )
        return scaled
