"""How often the answers for one class are right: sensitivity, specificity, precision and negative predictive value.

Each is the share of right answers among some of the cases: those of the class, those of no such class, those that are
answered as it, and those that are not. Intervals resample groups (patients); where no answer in them differs they are
widened by what no group has shown, as in `paired`. For one case per group that is close to the exact binomial one.

Shape legend: N cases, R bootstrap replicates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lorkit.decompose.metrics.bootstrap import Resampling, interval, number
from lorkit.decompose.metrics.paired import unseen_bound, widen_if_degenerate

RATES = ("sensitivity", "specificity", "ppv", "npv")
"""Sensitivity is the recall, ppv the positive predictive value (precision), npv the negative one."""


def answer_rates(
    positive_N: NDArray[np.bool_], said_N: NDArray[np.bool_], groups: ArrayLike, draws: Resampling
) -> tuple[dict[str, float | None], dict[str, list[float] | None]]:
    """Return the rates of `RATES`, and their 95 % intervals; None for a rate without a case.

    Args:
        positive_N: Which cases are of the class.
        said_N: Which cases are answered as it.
        groups: (N,) group of each case.
        draws: Resampled groups of the same cases.
    """
    kind_NS = np.stack([positive_N, ~positive_N, said_N, ~said_N], axis=1)
    right_NS = np.where(kind_NS, (said_N == positive_N)[:, None], np.nan)
    drawn_RS = draws.means(right_NS)
    point: dict[str, float | None] = {}
    spread: dict[str, list[float] | None] = {}
    for column, name in enumerate(RATES):
        kind_N: NDArray[Any] = kind_NS[:, column]
        value = number(float(right_NS[kind_N, column].mean())) if kind_N.any() else None
        point[name], spread[name] = value, None
        if value is not None:
            hidden = unseen_bound(kind_N[:, None], groups)
            spread[name] = widen_if_degenerate(interval(drawn_RS[:, column]), value, hidden)
    return point, spread


def no_rates() -> tuple[dict[str, float | None], dict[str, list[float] | None]]:
    """Return the same where nothing is answered."""
    return dict.fromkeys(RATES), dict.fromkeys(RATES)
