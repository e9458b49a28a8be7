"""Metrics of a classifier's logits, with intervals over patients.

A metric that is undefined on a split (a class without cases) is None. SciPy is imported where it is used: predictions
import the names of metrics, and take less time than SciPy's import.

Shape legend: N cases, C classes, B calibration bins, R bootstrap replicates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lorkit.decompose.artifacts.arrays import Floats, Ints
from lorkit.decompose.metrics import HEADLINE
from lorkit.decompose.metrics.answer_rates import answer_rates
from lorkit.decompose.metrics.bootstrap import (
    Resampling,
    check_scores,
    interval,
    mean_defined,
    number,
    resample,
    safe_divide,
)
from lorkit.decompose.metrics.calibration import calibration_error_interval
from lorkit.decompose.metrics.paired import unseen_bound, widen_if_degenerate
from lorkit.decompose.metrics.ranking import auroc

BINS = 15
CORNERS = 64
"""Maximum number of points of a stored ROC curve."""


def scores(
    labels: ArrayLike,
    logits: ArrayLike,
    groups: ArrayLike,
    *,
    classes: Sequence[str] | None = None,
    answers: ArrayLike | None = None,
    ranked: ArrayLike | None = None,
    seed: int = 0,
    replicates: int = 1000,
) -> dict[str, Any]:
    """Score logits against labels.

    Args:
        labels: (N,) class indices.
        logits: (N, C) before softmax.
        groups: (N,) patient (or other cluster) of each case; groups are resampled as a whole.
        classes: Names of the C classes, for `per_class`; indices by default.
        answers: (N,) class that each case is answered as; the one of the largest logit by default.
        ranked: (N, C) logits by whose log-odds AUROC and ROC curves rank; `logits` by default.
        seed: Seed of the bootstrap.
        replicates: Bootstrap replicates of the 95 % intervals.

    Returns:
        `n`, `groups`, the metrics of `HEADLINE` (None where undefined), `ci` by metric, `confusion` (rows: true class),
        `reliability` (bins of top-label confidence) and `per_class` (each class against the rest: recall and the other
        `answer_rates` with `ci`, `auroc`, its interval and the `roc` curve). Accuracy metrics are fractions; AUROC is
        the unweighted mean of one-versus-rest areas; ECE has 15 equal-width bins of the top label's probability (its
        interval: `calibration`); Brier is the mean squared distance of the probabilities from the one-hot label. A
        replicate's mean omits classes without a drawn case.

    Raises:
        DataError: Shapes do not match, a label is out of range, or a logit is not finite.
    """
    label_N, logit_NC, group_N = check_scores(labels, logits, groups)
    names = list(classes) if classes is not None else [str(index) for index in range(logit_NC.shape[1])]
    answer_N = logit_NC.argmax(1) if answers is None else np.asarray(answers, dtype=np.int64)
    ranked_NC = logit_NC if ranked is None else np.asarray(ranked, dtype=np.float64)
    hit_N = (answer_N == label_N).astype(np.float64)
    draws = resample(group_N, seed=seed, replicates=replicates)
    once = Resampling(np.ones((1, draws.counts_RG.shape[1])), draws.group_N)
    area_C, area_RC = auroc_by_class(label_N, ranked_NC, once)[0], auroc_by_class(label_N, ranked_NC, draws)
    gap_B, gap_RB = _gaps(label_N, logit_NC, once)[0], _gaps(label_N, logit_NC, draws)
    point = {
        name: number(values[0])
        for name, values in _headline(label_N, hit_N, logit_NC, once, area_C[None], gap_B[None]).items()
    }
    replicated = _headline(label_N, hit_N, logit_NC, draws, area_RC, gap_RB)
    spread = {name: interval(values) for name, values in replicated.items()}
    spread["ece"] = calibration_error_interval(gap_B, gap_RB, draws.counts_RG.shape[1])
    for name, hidden in (
        ("balanced_accuracy", unseen_bound(label_N[:, None] == np.unique(label_N), group_N)),
        ("accuracy", unseen_bound(np.ones((len(label_N), 1), np.bool_), group_N)),
    ):
        if (value := point[name]) is not None:
            spread[name] = widen_if_degenerate(spread[name], value, hidden)
    confusion_CC = confusion(label_N, answer_N, len(names))
    return {
        "n": len(label_N),
        "groups": draws.counts_RG.shape[1],
        **point,
        "ci": {name: spread[name] if point[name] is not None else None for name in HEADLINE},
        "confusion": confusion_CC.tolist(),
        "reliability": reliability(label_N, logit_NC),
        "per_class": [
            {
                **row,
                "auroc_ci": None if row["auroc"] is None else interval(area_RC[:, index]),
                "roc": roc(label_N == index, log_odds(ranked_NC, index)),
            }
            for index, row in enumerate(_per_class(names, (label_N, answer_N), area_C, (group_N, draws)))
        ],
    }


def confusion(labels: Ints, predicted: Ints, classes: int) -> Ints:
    """Count cases by true class (row) and predicted class (column)."""
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def reliability(labels: Ints, logits: Floats) -> dict[str, list[Any]]:
    """Bin cases by top-label confidence: `lows`, `highs`, `counts`, `confidences`, `accuracies` (None if empty)."""
    return bins_of(*_calibration(labels, logits))


def bins_of(confidence_N: Floats, hit_N: Floats, bin_N: Ints) -> dict[str, list[Any]]:
    """Return the bins of `reliability` from each case's confidence, whether it is right, and its bin."""
    n_B = np.bincount(bin_N, minlength=BINS).astype(np.float64)
    confidence_B = safe_divide(np.bincount(bin_N, confidence_N, minlength=BINS).astype(np.float64), n_B)
    accuracy_B = safe_divide(np.bincount(bin_N, hit_N, minlength=BINS).astype(np.float64), n_B)
    edges = np.linspace(0, 1, BINS + 1)
    return {
        "lows": edges[:-1].tolist(),
        "highs": edges[1:].tolist(),
        "counts": n_B.astype(int).tolist(),
        "confidences": [number(value) for value in confidence_B],
        "accuracies": [number(value) for value in accuracy_B],
    }


def auroc_by_class(labels: Ints, logits: Floats, draws: Resampling) -> Floats:
    """Return the area under the ROC curve of each class against the rest in each replicate: (R, C), NaN if undefined.

    The score of a class is its log-odds: monotone in the probability, without its saturation at 1, which would tie
    confident cases. Equal scores count one half.
    """
    area_RC = np.full((len(draws.counts_RG), logits.shape[1]), np.nan)
    for index in range(logits.shape[1]):
        if logits.shape[1] == 2 and index == 1:
            area_RC[:, 1] = area_RC[:, 0]  # the second log-odds are the negative of the first
            continue
        area_RC[:, index] = auroc(labels == index, log_odds(logits, index), draws)
    return area_RC


def log_odds(logits: Floats, index: int) -> Floats:
    """Return the log-odds of one class against all others, (N,)."""
    from scipy.special import logsumexp

    # equal odds from permuted logits differ in the last bits, so they are rounded to tie
    odds_N: Floats = np.round(logits[:, index] - logsumexp(np.delete(logits, index, axis=1), axis=1), 10)
    return odds_N


def roc(positive_N: NDArray[np.bool_], score_N: Floats) -> dict[str, list[float]] | None:
    """Compute the ROC curve of one class against the rest, thinned for storage.

    Long curves keep evenly spaced points, so that the area changes by less than the width of one point.

    Args:
        positive_N: Which cases are of the class.
        score_N: Higher for more likely cases.

    Returns:
        `fpr` and `tpr`, from (0, 0) to (1, 1); None if a side has no case.
    """
    positives, negatives = int(positive_N.sum()), int((~positive_N).sum())
    if not positives or not negatives:
        return None
    order = np.argsort(-score_N, kind="stable")
    last_N = np.append(np.diff(score_N[order]) != 0, True)  # equal scores are one step
    tpr = np.append(0.0, np.cumsum(positive_N[order])[last_N] / positives)
    fpr = np.append(0.0, np.cumsum(~positive_N[order])[last_N] / negatives)
    if len(tpr) > CORNERS:
        kept = np.searchsorted(tpr + fpr, np.linspace(0.0, 2.0, CORNERS) - 1e-12)
        kept = np.unique(np.append(kept[:-1], len(tpr) - 1))
        tpr, fpr = tpr[kept], fpr[kept]
    return {"fpr": np.round(fpr, 5).tolist(), "tpr": np.round(tpr, 5).tolist()}


def _headline(
    labels: Ints, hit_N: Floats, logits: Floats, draws: Resampling, area_RC: Floats, gap_RB: Floats
) -> dict[str, Floats]:
    from scipy.special import log_softmax

    member_NC = (labels[:, None] == np.arange(logits.shape[1])[None]).astype(np.float64)
    brier_N = ((np.exp(log_softmax(logits, axis=1)) - member_NC) ** 2).sum(1)
    n_RC, hits_RC = draws.totals(member_NC), draws.totals(member_NC * hit_N[:, None])
    n_R = n_RC.sum(1)
    # a class missing in the whole split makes macro metrics undefined; one missing only in a replicate does not
    whole = np.where(member_NC.any(0).all(), 1.0, np.nan)
    return {
        "accuracy": hits_RC.sum(1) / n_R,
        "balanced_accuracy": mean_defined(safe_divide(hits_RC, n_RC)) * whole,
        "auroc": mean_defined(area_RC) * whole,
        "ece": np.abs(gap_RB).sum(1),
        "brier": draws.totals(brier_N) / n_R,
    }


def _gaps(labels: Ints, logits: Floats, draws: Resampling) -> Floats:
    """Return the mean confidence minus the accuracy of each bin, times its share of the cases, (R, B)."""
    confidence_N, hit_N, bin_N = _calibration(labels, logits)
    gap_NB = (bin_N[:, None] == np.arange(BINS)[None]) * (confidence_N - hit_N)[:, None]
    gap_RB: Floats = draws.totals(gap_NB) / draws.totals(np.ones((len(labels), 1)))
    return gap_RB


def _calibration(labels: Ints, logits: Floats) -> tuple[Floats, Floats, Ints]:
    """Return the top-label probability, whether it is right, and its bin [low, high), each (N,)."""
    from scipy.special import log_softmax

    confidence_N = np.exp(log_softmax(logits, axis=1)).max(1)
    hit_N = (logits.argmax(1) == labels).astype(np.float64)
    bin_N = np.minimum((confidence_N * BINS).astype(np.int64), BINS - 1)
    return confidence_N, hit_N, bin_N


def _per_class(
    names: Sequence[str], answers: tuple[Ints, Ints], area_C: Floats, groups: tuple[NDArray[Any], Resampling]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    label_N, answer_N = answers
    for index, name in enumerate(names):
        point, spread = answer_rates(label_N == index, answer_N == index, *groups)
        point["recall"], spread["recall"] = point.pop("sensitivity"), spread.pop("sensitivity")
        n = int((label_N == index).sum())
        rows.append({"class": name, "n": n, **point, "ci": spread, "auroc": number(area_C[index])})
    return rows
