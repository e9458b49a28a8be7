"""How well scores order cases: area under the ROC curve and average precision, also in bootstrap replicates.

Shape legend: N cases, R replicates, G groups, L levels of equal score.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from lorkit.decompose.artifacts.arrays import Floats
from lorkit.decompose.metrics.bootstrap import Resampling, safe_divide


def auroc(positive_N: NDArray[np.bool_], score_N: Floats, draws: Resampling) -> Floats:
    """Return the area under the ROC curve in each replicate, (R,): the weighted Mann-Whitney statistic.

    Equal scores count one half; NaN without a positive or without a negative case.
    """
    parts = [_auroc(*_by_level(positive_N, score_N, draws, block)) for block in draws.blocks()]
    return np.concatenate(parts)


def average_precision(positive_N: NDArray[np.bool_], score_N: Floats, draws: Resampling) -> Floats:
    """Return the average precision in each replicate, (R,): the mean precision at the score of each positive case.

    Cases of equal score are one step, without interpolation, as in scikit-learn; NaN without a positive case.
    """
    parts = [_average_precision(*_by_level(positive_N, score_N, draws, block)) for block in draws.blocks()]
    return np.concatenate(parts)


def placements(positive_N: NDArray[np.bool_], score_N: Floats) -> Floats:
    """Return for each case the share of cases of the other kind that it is ordered rightly against, (N,).

    For a positive case these are negatives with lower scores, for a negative case positives with higher ones; equal
    scores count one half. The mean over positive cases is the AUROC, and so is that over negative ones. NaN if there is
    only one kind.
    """
    positives, negatives = int(positive_N.sum()), int((~positive_N).sum())
    if not positives or not negatives:
        return np.full(len(score_N), np.nan)
    below_N = rankdata(score_N) - 0.5  # cases below, equal ones as one half, and half of itself
    own_N = np.empty(len(score_N))
    for kind_N in (positive_N, ~positive_N):
        own_N[kind_N] = rankdata(score_N[kind_N]) - 0.5
    lower_N = below_N - own_N  # of the other kind
    found_N: Floats = np.where(positive_N, lower_N / negatives, 1.0 - lower_N / positives)
    return found_N


def _by_level(positive_N: NDArray[np.bool_], score_N: Floats, draws: Resampling, block: slice) -> tuple[Floats, Floats]:
    """Return the weights of positive and negative cases at each score, ascending, each (R, L)."""
    order = np.argsort(score_N, kind="stable")
    level_N = np.unique(score_N, return_inverse=True)[1][order]
    starts = np.flatnonzero(np.diff(level_N, prepend=-1))
    weight_RN = draws.counts_RG[block][:, draws.group_N[order]]
    positive_RL = np.add.reduceat(weight_RN * positive_N[order], starts, axis=1)
    return positive_RL, np.add.reduceat(weight_RN, starts, axis=1) - positive_RL


def _auroc(positive_RL: Floats, negative_RL: Floats) -> Floats:
    below_RL = np.cumsum(negative_RL, axis=1) - negative_RL / 2
    wins_R = np.einsum("rl,rl->r", positive_RL, below_RL)
    return safe_divide(wins_R, positive_RL.sum(1) * negative_RL.sum(1))


def _average_precision(positive_RL: Floats, negative_RL: Floats) -> Floats:
    found_RL, false_RL = (np.cumsum(kind[:, ::-1], axis=1) for kind in (positive_RL, negative_RL))
    precision_RL = np.nan_to_num(safe_divide(found_RL, found_RL + false_RL))  # undefined only before the first case
    return safe_divide(np.einsum("rl,rl->r", positive_RL[:, ::-1], precision_RL), positive_RL.sum(1))
