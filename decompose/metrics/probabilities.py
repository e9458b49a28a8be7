"""Probabilities of logits, in numpy: a prediction needs nothing else of SciPy, whose import takes longer than it.

The formulas are those of `scipy.special`, which the tests compare with; the dtype of floating-point logits is kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def softmax(logits: NDArray[Any], axis: int | None = None) -> NDArray[Any]:
    """Return exp(logits) over their sum along an axis, or over all of them, of floating-point logits."""
    shares: NDArray[Any] = np.asarray(logits - np.amax(logits, axis=axis, keepdims=True))
    np.exp(shares, out=shares)
    shares /= np.sum(shares, axis=axis, keepdims=True)
    return shares


def expit(logits: NDArray[Any]) -> NDArray[Any]:
    """Return the sigmoid 1 / (1 + exp(-logits)) of each floating-point logit, without overflow."""
    shares: NDArray[Any] = np.asarray(-np.abs(logits))
    np.exp(shares, out=shares)
    whole = 1 + shares
    np.copyto(shares, 1, where=logits >= 0)
    shares /= whole
    return shares
