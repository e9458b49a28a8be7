"""The probability from which a case counts as positive, chosen by a stated policy on cases that are not tested.

Thresholds are midpoints between neighbouring scores, so that no case lies on one.

Shape legend: N cases, L levels of equal score, from the highest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import Floats
from lorkit.decompose.metrics.bootstrap import safe_divide
from lorkit.decompose.metrics.probabilities import expit

Policy = str | float | Mapping[str, float]
"""`youden`, `f1`, `{"precision": p}`, `{"cost": c}`, or the threshold itself; see `choose_threshold`."""
_SMALLEST, _LARGEST = float(np.finfo(np.float64).tiny), 1.0 - float(np.finfo(np.float64).epsneg)


class Chosen(NamedTuple):
    """A threshold of the probability; None, with the reason, if none could be chosen."""

    threshold: float | None
    reason: str | None = None


def policy_name(policy: Policy) -> str:
    """Return a policy in words: `f1`, `precision 0.9`, `0.5`."""
    if isinstance(policy, Mapping):
        return " ".join(f"{name} {value:g}" for name, value in policy.items())
    return policy if isinstance(policy, str) else f"{policy:g}"


def choose_threshold(positive_N: NDArray[np.bool_], logit_N: Floats, policy: Policy) -> Chosen:
    """Choose the probability (the sigmoid of a logit) from which a case counts as positive.

    `youden` maximises sensitivity + specificity, `f1` the F1 score. `cost` c minimises the cost where a missed positive
    case costs c times as much as a false alarm, and may call no case positive. Of equally good thresholds the highest
    is taken. `precision` p takes the lowest threshold with at least this precision, so that the most cases are found. A
    number is itself the threshold.

    Args:
        positive_N: Which cases are positive.
        logit_N: Their logits.
        policy: The policy.

    Returns:
        No threshold without a positive or without a negative case, or if none has the precision.
    """
    if not isinstance(policy, str | Mapping):
        return Chosen(float(policy))
    if positive_N.all() or not positive_N.any():
        return Chosen(None, f"validation has no {'negative' if positive_N.any() else 'positive'} case")
    level_L, index_N = np.unique(logit_N, return_inverse=True)
    level_L = level_L[::-1]
    found_L, false_L = (
        np.cumsum(np.bincount(index_N, kind_N, minlength=len(level_L))[::-1], dtype=np.float64)
        for kind_N in (positive_N, ~positive_N)
    )
    positives, negatives = float(positive_N.sum()), float((~positive_N).sum())
    # a threshold above all levels comes first
    level_L = np.concatenate([[level_L[0] + 2.0], level_L])
    found_L, false_L = (np.concatenate([np.zeros(1), counts_L]) for counts_L in (found_L, false_L))
    if policy == "youden":
        best = _first_best(found_L / positives - false_L / negatives)
    elif policy == "f1":
        best = _first_best(2 * found_L / (found_L + false_L + positives))
    else:
        assert isinstance(policy, Mapping)
        ((name, value),) = policy.items()
        if name == "cost":
            best = _first_best(-(value * (positives - found_L) + false_L))
        else:
            precision_L = safe_divide(found_L, found_L + false_L)
            enough = np.flatnonzero(precision_L >= value)
            if not len(enough):
                highest = float(np.nanmax(precision_L))
                return Chosen(None, f"no threshold has a precision of {value:g} on validation (highest {highest:.3f})")
            best = int(enough[-1])
    below = level_L[best + 1] if best + 1 < len(level_L) else level_L[best] - 1.0
    return Chosen(float(np.clip(expit((level_L[best] + below) / 2), _SMALLEST, _LARGEST)))


def _first_best(value_L: Floats) -> int:
    """Return the first of the largest values, which may differ by rounding."""
    largest = float(value_L.max())
    return int((value_L >= largest - 1e-12 * max(1.0, abs(largest))).argmax())
