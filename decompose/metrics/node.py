"""Metrics of logits of a graph's nodes, of which few are positive, with intervals over entities.

Of two classes the second one is positive: its score is the margin z1 - z0, the log-odds of the softmax. z1 alone is no
score, since adding a number to both logits changes no probability. Of more classes each is positive against the rest,
and metrics of scores are means over the classes.

Shape legend: N cases, C classes, K columns of positive classes (1 of two classes, else C), R bootstrap replicates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lorkit.decompose.artifacts.arrays import Floats, Ints
from lorkit.decompose.metrics import classification, multilabel
from lorkit.decompose.metrics.bootstrap import (
    Resampling,
    check_scores,
    interval,
    mean_defined,
    number,
    resample,
    safe_divide,
)
from lorkit.decompose.metrics.calibration import fit_temperature
from lorkit.decompose.metrics.paired import PairedDrop, unseen_bound, widen_if_degenerate
from lorkit.decompose.metrics.paired_precision import case_values, paired_precision, precision_rate
from lorkit.decompose.metrics.ranking import precision_recall, recall_at
from lorkit.decompose.metrics.rates import Rate
from lorkit.decompose.metrics.score_histogram import score_histogram
from lorkit.decompose.metrics.thresholds import Chosen, Policy, choose_threshold

HEADLINE = ("ap", "auroc", "recall_at_k", "f1_macro", "gmean", "accuracy", "balanced_accuracy", "ece", "brier")
DECIDED = ("f1_macro", "gmean")
"""Metrics of the answers, beside those of `classification`."""


def positive_classes(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the classes that are found: the second of two, else all."""
    return tuple(classes[1:]) if len(classes) == 2 else tuple(classes)


def margins(logits: ArrayLike) -> Floats:
    """Return (N, K): the log-odds of each positive class, from (N, C) logits."""
    logit_NC = np.asarray(logits, dtype=np.float64)
    columns = [1] if logit_NC.shape[1] == 2 else range(logit_NC.shape[1])
    return np.stack([classification.log_odds(logit_NC, column) for column in columns], axis=1)


def members(labels: ArrayLike, classes: int) -> NDArray[np.bool_]:
    """Return (N, K): which cases are of each positive class."""
    columns = np.array([1]) if classes == 2 else np.arange(classes)
    found: NDArray[np.bool_] = np.asarray(labels)[:, None] == columns
    return found


def answers(logits: ArrayLike, threshold: float | None = None, temperature: float = 1.0) -> Ints:
    """Return the class of each case, (N,): the most probable one, or of two the second from a threshold on."""
    from scipy.special import logit

    logit_NC = np.asarray(logits, dtype=np.float64)
    found_N: NDArray[np.integer]
    if threshold is None:
        found_N = logit_NC.argmax(1)
    else:
        found_N = (margins(logit_NC)[:, 0] >= temperature * logit(threshold)).astype(np.int64)
    return found_N.astype(np.int64)


def choose(labels: ArrayLike, logits: ArrayLike, policy: Policy | None) -> tuple[float, Chosen]:
    """Return the temperature, and the threshold of the calibrated probability, on cases that are not tested.

    Args:
        labels: (N,) classes.
        logits: (N, C).
        policy: Of the threshold of two classes; None for more classes, whose answer is the most probable one.

    Raises:
        DataError: As `scores`.
    """
    label_N, logit_NC, _ = check_scores(labels, logits, np.zeros(len(np.asarray(labels))))
    temperature = fit_temperature(label_N, logit_NC)
    if policy is None:
        return temperature, Chosen(None)
    return temperature, choose_threshold(label_N == 1, margins(logit_NC)[:, 0] / temperature, policy)


def scores(
    labels: ArrayLike,
    logits: ArrayLike,
    groups: ArrayLike,
    *,
    classes: Sequence[str],
    threshold: float | None = None,
    temperature: float = 1.0,
    recall_at: Sequence[int | float] = (),
    seed: int = 0,
    replicates: int = 1000,
) -> dict[str, Any]:
    """Score logits against labels.

    Args:
        labels: (N,) class indices.
        logits: (N, C) before softmax.
        groups: (N,) entity (or node) of each case; groups are resampled as a whole.
        classes: Names of the C classes.
        threshold: Probability from which a case is of the second of two classes, from other cases.
        temperature: The logits are divided by it before softmax, from other cases.
        recall_at: Numbers of cases that can be looked at, or shares of all cases as floats. `recall_at_k` is of the
            first; of none it is among as many as are positive.
        seed: Seed of the bootstrap.
        replicates: Bootstrap replicates of the 95 % intervals.

    Returns:
        What `classification.scores` returns, of the probabilities at the temperature and of the answers at the
        threshold; `ap` and `recall_at_k`, means over the positive classes; `f1_macro`, the mean F1 score over all
        classes, and `gmean`, the geometric mean of their recalls; `ci` by metric; and `labels`, by positive class, as
        of `multilabel.scores`, with `recall_at_k`, its `k`, the `pr` curve, and the `histogram` of the probabilities.
        All that ranks does so by the margins without the temperature, as the gate does.
        If stated also `recall_at`: for each number or share `at`, the cases looked at `k` (at most all), the mean
        recall, and its interval `ci`.

    Raises:
        DataError: Shapes do not match, a label is out of range, or a logit is not finite.
    """
    label_N, logit_NC, group_N = check_scores(labels, logits, groups)
    answer_N = answers(logit_NC, threshold, temperature)
    again = {"seed": seed, "replicates": replicates}
    found = classification.scores(
        label_N, logit_NC / temperature, group_N, classes=classes, answers=answer_N, ranked=logit_NC, **again
    )
    members_NK, margin_NK = members(label_N, len(classes)), margins(logit_NC)
    # of more than two classes the margins of the calibrated logits are not the margins over the temperature
    calibrated_NK = margin_NK / temperature if margin_NK.shape[1] == 1 else margins(logit_NC / temperature)
    names = positive_classes(classes)
    table = multilabel.scores(
        members_NK,
        calibrated_NK,
        group_N,
        names=names,
        thresholds=[threshold] * len(names),
        ranked=margin_NK,
        **again,
    )
    draws = resample(group_N, **again)
    once = Resampling(np.ones((1, draws.counts_RG.shape[1])), draws.group_N)
    point, spread = (_decided(label_N, answer_N, len(classes), which) for which in (once, draws))
    recalls, rows = _recalls(members_NK, margin_NK, (once, draws), recall_at)
    point["recall_at_k"], spread["recall_at_k"] = (mean_defined(one) for one in recalls)
    found |= {"ap": table["ap"]} | {name: number(float(values[0])) for name, values in point.items()}
    found["ci"] |= {"ap": table["ci"]["ap"]}
    found["ci"] |= {name: None if found[name] is None else interval(values) for name, values in spread.items()}
    hidden = unseen_bound(label_N[:, None] == np.unique(label_N), group_N)
    for name in DECIDED:  # resampling answers that are all right has no width
        if found[name] is not None:
            found["ci"][name] = widen_if_degenerate(found["ci"][name], found[name], hidden)
    for column, row in enumerate(table["labels"].values()):
        own_N = members_NK[:, column]
        row["recall_at_k"] = number(float(recalls[0][0, column]))
        row["k"] = rows[0]["k"] if rows else int(own_N.sum())
        row["ci"]["recall_at_k"] = None if row["recall_at_k"] is None else interval(recalls[1][:, column])
        row["pr"] = precision_recall(own_N, margin_NK[:, column], classification.CORNERS)
        row["histogram"] = score_histogram(own_N, calibrated_NK[:, column])
    return found | {"labels": table["labels"]} | ({"recall_at": rows} if rows else {})


def _recalls(
    members_NK: NDArray[np.bool_],
    margin_NK: Floats,
    draws: tuple[Resampling, Resampling],
    stated: Sequence[int | float],
) -> tuple[tuple[Floats, Floats], list[dict[str, Any]]]:
    """Return the recall at k of each positive class as it is (1, K) and resampled (R, K), and a row for each stated k.

    The recall at k is that of the first stated number or share.
    """
    found: list[tuple[Floats, Floats]] = []
    rows = []
    total = len(margin_NK)
    for at in stated or (None,):
        k = None if at is None else max(1, round(at * total)) if isinstance(at, float) else min(at, total)
        looked_at = k / total if k is not None and isinstance(at, float) else k
        once, again = (
            np.stack([recall_at(*pair, one, looked_at) for pair in zip(members_NK.T, margin_NK.T, strict=True)], axis=1)
            for one in draws
        )
        found.append((once, again))
        if at is not None:
            recall = number(float(mean_defined(once)[0]))
            ci = None if recall is None else interval(mean_defined(again))
            rows.append({"at": at, "k": k, "recall": recall, "ci": ci})
    return found[0], rows


def scores_by_case(labels: ArrayLike, logits: ArrayLike) -> Floats:
    """Return (N, K) whose mean of means is the average precision; see `paired_precision.case_values`."""
    score_NK = margins(logits)
    members_NK = members(labels, np.asarray(logits).shape[1])
    return np.stack([case_values(*pair) for pair in zip(members_NK.T, score_NK.T, strict=True)], axis=1)


def average_precision_rate(labels: ArrayLike, logits: ArrayLike, groups: ArrayLike, *, seed: int = 0) -> Rate:
    """Return the average precision with its interval, one further group at each end; see `paired_precision`."""
    label_N, logit_NC, group_N = _by_index(labels, logits, groups)
    return precision_rate(members(label_N, logit_NC.shape[1]), margins(logit_NC), group_N, seed=seed)


def paired_drop(
    labels: ArrayLike, baseline_logits: ArrayLike, candidate_logits: ArrayLike, groups: ArrayLike, *, seed: int = 0
) -> PairedDrop:
    """Return the drop in average precision between two models on the same cases; NaN if no class has both kinds.

    Raises:
        DataError: As `scores`.
    """
    label_N, baseline_NC, group_N = _by_index(labels, baseline_logits, groups)
    _, candidate_NC, _ = check_scores(labels, candidate_logits, groups)
    members_NK = members(label_N, baseline_NC.shape[1])
    return paired_precision(members_NK, margins(baseline_NC), margins(candidate_NC), group_N, seed=seed)


def _by_index(labels: ArrayLike, logits: ArrayLike, groups: ArrayLike) -> tuple[Ints, Floats, Ints]:
    label_N, logit_NC, group_N = check_scores(labels, logits, groups)
    return label_N, logit_NC, np.unique(group_N, return_inverse=True)[1].astype(np.int64)


def _decided(label_N: Ints, answer_N: Ints, classes: int, draws: Resampling) -> dict[str, Floats]:
    """Return the metrics of `DECIDED` in each replicate, (R,); NaN if a class has no case at all."""
    member_NC, said_NC = (one_N[:, None] == np.arange(classes) for one_N in (label_N, answer_N))
    n_RC, said_RC, hit_RC = (
        draws.totals(counted_NC.astype(np.float64)) for counted_NC in (member_NC, said_NC, member_NC & said_NC)
    )
    recall_RC = safe_divide(hit_RC, n_RC)
    whole = np.where(member_NC.any(0).all(), 1.0, np.nan)
    with np.errstate(divide="ignore"):  # a class that is never found makes it 0
        gmean_R = np.exp(_mean_log(np.log(recall_RC)))
    return {"f1_macro": mean_defined(safe_divide(2 * hit_RC, n_RC + said_RC)) * whole, "gmean": gmean_R * whole}


def _mean_log(log_RC: Floats) -> Floats:
    """Return the mean of the logarithms that are defined, of which some may be minus infinity."""
    known_RC = ~np.isnan(log_RC)
    return safe_divide(np.where(known_RC, log_RC, 0.0).sum(1), known_RC.sum(1).astype(np.float64))
