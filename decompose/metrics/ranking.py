"""How well scores order cases: area under the ROC curve, average precision and recall, also in bootstrap replicates.

Shape legend: N cases, R replicates, G groups, L levels of equal score, C corners of a stored curve.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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


def recall_at(
    positive_N: NDArray[np.bool_], score_N: Floats, draws: Resampling, looked_at: int | float | None = None
) -> Floats:
    """Return the share of the positive cases that are among those with the highest scores in each replicate, (R,).

    Cases of equal score share the places that are left for them, so that their order does not matter; NaN without a
    positive case.

    Args:
        positive_N: (N,) which cases are positive.
        score_N: (N,) scores.
        draws: Replicates.
        looked_at: Number of cases; a float is their share of the replicate's cases. None takes as many as are positive
            in the replicate, so that recall equals precision.
    """
    parts = [_recall_at(*_by_level(positive_N, score_N, draws, block), looked_at) for block in draws.blocks()]
    return np.concatenate(parts)


def precision_recall(positive_N: NDArray[np.bool_], score_N: Floats, corners: int) -> dict[str, list[float]] | None:
    """Return `recalls` and `precisions` at each score from the highest, thinned for storage.

    None without a positive case.
    Long curves keep points at about even steps of recall, so that the first and the last one stay.
    """
    if not positive_N.any():
        return None
    once = Resampling(np.ones((1, len(score_N))), np.arange(len(score_N)))
    positive_RL, negative_RL = _by_level(positive_N, score_N, once, slice(None))
    found_L, all_L = (np.cumsum(values_RL[0, ::-1]) for values_RL in (positive_RL, positive_RL + negative_RL))
    kept = np.flatnonzero(np.diff(found_L, prepend=0.0))  # precision without a further positive case only falls
    if len(kept) > corners:
        wanted = np.linspace(found_L[kept[0]], found_L[kept[-1]], corners)
        kept = np.unique(kept[np.searchsorted(found_L[kept], wanted - 1e-9)])
    recall_C, precision_C = found_L[kept] / positive_N.sum(), found_L[kept] / all_L[kept]
    return {"recalls": np.round(recall_C, 5).tolist(), "precisions": np.round(precision_C, 5).tolist()}


def placements(positive_N: NDArray[np.bool_], score_N: Floats) -> Floats:
    """Return for each case the share of cases of the other kind that it is ordered rightly against, (N,).

    For a positive case these are negatives with lower scores, for a negative case positives with higher ones; equal
    scores count one half. The mean over positive cases is the AUROC, and so is that over negative ones. NaN if there is
    only one kind.
    """
    from scipy.stats import rankdata  # takes a second to import, and predictions do not need it

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


def _recall_at(positive_RL: Floats, negative_RL: Floats, looked_at: int | float | None) -> Floats:
    weight_RL = (positive_RL + negative_RL)[:, ::-1]
    positives_R = positive_RL.sum(1)
    if looked_at is None:
        places_R1 = positives_R[:, None]
    elif isinstance(looked_at, float):
        places_R1 = looked_at * weight_RL.sum(1, keepdims=True)
    else:
        places_R1 = np.full((len(positives_R), 1), float(looked_at))
    left_RL = np.clip(places_R1 - (np.cumsum(weight_RL, axis=1) - weight_RL), 0.0, weight_RL)
    share_RL = np.nan_to_num(safe_divide(left_RL, weight_RL))
    return safe_divide(np.einsum("rl,rl->r", positive_RL[:, ::-1], share_RL), positives_R)
