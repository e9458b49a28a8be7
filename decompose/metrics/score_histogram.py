"""How the calibrated scores of the cases of a class, and of all others, are distributed.

Bins are equally wide in log-odds: where few cases are positive, most probabilities are near 0, and bins of equal
probability would hold all of them in the first.

Shape legend: N cases, B bins.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import Floats
from lorkit.decompose.metrics.probabilities import expit

BINS = 24
REACH = 9.0
"""Largest log-odds at the end of a bin, a probability of 0.9999; cases beyond count in the last bin."""
_NARROWEST = 1.0


def score_histogram(positive_N: NDArray[np.bool_], margin_N: Floats) -> dict[str, list[float] | list[int]]:
    """Count the cases of a class and all others by their probability.

    Args:
        positive_N: (N,) which cases are of the class.
        margin_N: (N,) their calibrated log-odds of it.

    Returns:
        `edges`, the B + 1 probabilities between bins, and `positive` and `negative`, B counts each.
    """
    clipped_N = np.clip(np.asarray(margin_N, dtype=np.float64), -REACH, REACH)
    low, high = float(clipped_N.min()), float(clipped_N.max())
    if high - low < _NARROWEST:
        low, high = (low + high - _NARROWEST) / 2, (low + high + _NARROWEST) / 2
    edge_B = np.linspace(low, high, BINS + 1)
    counts = [np.histogram(clipped_N[kind_N], edge_B)[0].tolist() for kind_N in (positive_N, ~positive_N)]
    return {"edges": expit(edge_B).tolist(), "positive": counts[0], "negative": counts[1]}
