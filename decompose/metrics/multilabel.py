"""Metrics of a multilabel network's logits, with intervals over patients, and thresholds chosen on validation.

Each label is a question of its own, answered by the sigmoid of its logit. Cases with an unknown answer are left out of
the metrics of that label. A label without a positive or without a negative case has no AUROC, and is left out of the
means over labels.

Shape legend: N cases, L labels, B calibration bins, R bootstrap replicates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lorkit.decompose.artifacts.arrays import Floats, Ints
from lorkit.decompose.errors import DataError
from lorkit.decompose.metrics.answer_rates import answer_rates, no_rates
from lorkit.decompose.metrics.bootstrap import Resampling, interval, mean_defined, number, resample, safe_divide
from lorkit.decompose.metrics.calibration import calibration_error_interval
from lorkit.decompose.metrics.classification import BINS, bins_of, roc
from lorkit.decompose.metrics.probabilities import expit
from lorkit.decompose.metrics.ranking import auroc, average_precision, placements
from lorkit.decompose.metrics.rates import Rate, mean_rate
from lorkit.decompose.metrics.thresholds import Chosen, Policy, choose_threshold

HEADLINE = ("auroc", "ap", "ece", "brier")
UNSEEN = 2.0
"""Largest loss in a score of `scores_by_case`: that of a case that was right against all others, and is wrong."""


def check_table(labels: ArrayLike, logits: ArrayLike) -> tuple[Ints, Floats]:
    """Return (N, L) labels of 1, 0 and -1 and (N, L) logits as arrays.

    Raises:
        DataError: Shapes do not match, a label is another number, or a logit is not finite.
    """
    label_NL, logit_NL = np.asarray(labels, dtype=np.int64), np.asarray(logits, dtype=np.float64)
    if logit_NL.ndim != 2 or label_NL.shape != logit_NL.shape or not len(label_NL):
        raise DataError(
            f"labels {label_NL.shape} and logits {logit_NL.shape}",
            required="(N, L) on both sides with N of at least one",
            fix="score the same cases and labels everywhere",
        )
    if not np.isin(label_NL, (-1, 0, 1)).all():
        raise DataError(
            f"labels from {label_NL.min()} to {label_NL.max()}",
            required="1 (positive), 0 (negative) and -1 (uncertain)",
            fix="correct the labels",
        )
    if not np.isfinite(logit_NL).all():
        raise DataError("logits with NaN or infinite values", required="finite logits", fix="check model and data")
    return label_NL, logit_NL


def scores(
    labels: ArrayLike,
    logits: ArrayLike,
    groups: ArrayLike,
    *,
    names: Sequence[str],
    thresholds: Sequence[float | None] | None = None,
    ranked: ArrayLike | None = None,
    seed: int = 0,
    replicates: int = 1000,
) -> dict[str, Any]:
    """Score logits against labels.

    Args:
        labels: (N, L) of 1, 0 and -1 (uncertain).
        logits: (N, L) before the sigmoid.
        groups: (N,) patient (or other cluster) of each case; groups are resampled as a whole.
        names: Names of the labels.
        thresholds: Probability from which each label counts as positive, from other cases; None where there is none.
        ranked: (N, L) scores by which AUROC, AP and ROC curves rank; `logits` by default.
        seed: Seed of the bootstrap.
        replicates: Bootstrap replicates of the 95 % percentile intervals.

    Returns:
        `n`, `groups`, the metrics of `HEADLINE`, each the mean over labels (None if no label has it), `ci` by metric,
        and `labels` by name: the same metrics, `threshold`, the counts `n_positive`, `n_negative` and `n_uncertain`,
        the `answer_rates` at the threshold, `ci` by metric, the `roc` curve and the `reliability` of the
        probability. ECE has 15 equal-width bins of the probability of the label; Brier is its mean squared distance
        from the answer.

    Raises:
        DataError: As `check_table`.
    """
    label_NL, logit_NL = check_table(labels, logits)
    ranked_NL = logit_NL if ranked is None else np.asarray(ranked, dtype=np.float64)
    draws = resample(groups, seed=seed, replicates=replicates)
    once = Resampling(np.ones((1, draws.counts_RG.shape[1])), draws.group_N)
    limits = thresholds or [None] * len(names)
    rows: dict[str, dict[str, Any]] = {}
    gaps: list[tuple[Floats, Floats]] = []
    point: dict[str, list[float]] = {name: [] for name in HEADLINE}
    spread: dict[str, list[Floats]] = {name: [] for name in HEADLINE}
    for column, (name, limit) in enumerate(zip(names, limits, strict=True)):
        known_N = label_NL[:, column] >= 0
        both = (logit_NL[known_N, column], ranked_NL[known_N, column])
        case = _Case(label_NL[known_N, column] == 1, *both, limit)
        now = case.metrics(_only(once, known_N))
        drawn = case.metrics(_only(draws, known_N))
        rows[name] = _row(case, now, drawn) | {"n_uncertain": int((~known_N).sum())}
        rates, spans = case.rates(np.asarray(groups)[known_N], _only(draws, known_N))
        rows[name] |= rates
        rows[name]["ci"] |= spans
        if known_N.any():
            pair = tuple(case.gaps(_only(which, known_N)) for which in (once, draws))
            gaps.append((pair[0][0], pair[1]))
            rows[name]["ci"]["ece"] = calibration_error_interval(*gaps[-1], draws.counts_RG.shape[1])
        for metric in HEADLINE:
            point[metric].append(float(now[metric][0]))
            spread[metric].append(drawn[metric])
    macro = {name: number(float(mean_defined(np.array(values)))) for name, values in point.items()}
    replicated = {name: mean_defined(np.stack(values, axis=1)) for name, values in spread.items()}
    intervals = {name: None if macro[name] is None else interval(replicated[name]) for name in HEADLINE}
    if gaps:  # the mean over labels is one sum over the bins of all of them
        one_B, drawn_RB = (np.concatenate(parts, axis=-1) / len(gaps) for parts in zip(*gaps, strict=True))
        intervals["ece"] = calibration_error_interval(one_B, drawn_RB, draws.counts_RG.shape[1])
    return {
        "n": len(label_NL),
        "groups": draws.counts_RG.shape[1],
        **macro,
        "ci": intervals,
        "labels": rows,
    }


def choose_thresholds(labels: ArrayLike, logits: ArrayLike, policy: Policy) -> list[Chosen]:
    """Choose the probability from which each label counts as positive, on cases that are not tested.

    None for a label without a positive or without a negative case; see `thresholds`.

    Raises:
        DataError: As `check_table`.
    """
    label_NL, logit_NL = check_table(labels, logits)
    return [
        choose_threshold(label_N[label_N >= 0] == 1, logit_N[label_N >= 0], policy)
        for label_N, logit_N in zip(label_NL.T, logit_NL.T, strict=True)
    ]


def placements_by_case(labels: ArrayLike, logits: ArrayLike) -> Floats:
    """Return (N, 2 L) in [0, 1]: for each label a column of its positive and one of its negative cases, else NaN.

    A value is the case's placement (`ranking.placements`). The mean over columns of the mean over cases is the macro
    AUROC.
    """
    label_NL, logit_NL = check_table(labels, logits)
    columns = []
    for label_N, logit_N in zip(label_NL.T, logit_NL.T, strict=True):
        known_N = label_N >= 0
        value_N = np.full(len(label_N), np.nan)
        value_N[known_N] = placements(label_N[known_N] == 1, logit_N[known_N])
        columns += [np.where(label_N == kind, value_N, np.nan) for kind in (1, 0)]
    return np.stack(columns, axis=1)


def scores_by_case(labels: ArrayLike, logits: ArrayLike) -> Floats:
    """Return (N, 2 L): the `placements_by_case`, their distances from the AUROC of their label doubled.

    The mean over columns of the mean over cases is the macro AUROC. To first order, resampled means then vary as the
    AUROC of resampled cases does, which moves with its positive and with its negative cases. This is the clustered
    estimate of Obuchowski (Biometrics 53, 1997), whose structural components are the placements.
    """
    value_NS = placements_by_case(labels, logits)
    return 2.0 * value_NS - mean_defined(value_NS.T)


def auroc_rate(labels: ArrayLike, logits: ArrayLike, groups: ArrayLike, *, seed: int = 0) -> Rate:
    """Return the macro AUROC with its interval, one further patient at each end; see `rates` and `scores_by_case`."""
    found = mean_rate(placements_by_case(labels, logits), groups, seed=seed)
    low, high = (min(1.0, max(0.0, 2.0 * end - found.value)) for end in found.ci)
    return Rate(found.value, (low, high), found.groups)


def undefined_labels(labels: ArrayLike, names: Sequence[str]) -> list[str]:
    """Return the labels without a positive or without a negative case."""
    label_NL = np.asarray(labels)
    both_L = (label_NL == 1).any(0) & (label_NL == 0).any(0)
    return [name for name, both in zip(names, both_L, strict=True) if not both]


def answered(labels: ArrayLike) -> NDArray[np.bool_]:
    """Return (N, 2 L) as `scores_by_case`: the positive and the negative cases of each label that has both."""
    label_NL = np.asarray(labels)
    both_L = (label_NL == 1).any(0) & (label_NL == 0).any(0)
    sides_N2L = np.stack([label_NL == 1, label_NL == 0], axis=2) & both_L[:, None]
    found: NDArray[np.bool_] = sides_N2L.reshape(len(label_NL), -1)
    return found


class _Case:
    """The known cases of one label."""

    def __init__(
        self, positive_N: NDArray[np.bool_], logit_N: Floats, ranked_N: Floats, threshold: float | None
    ) -> None:
        self.positive_N, self.ranked_N, self.threshold = positive_N, ranked_N, threshold
        self.probability_N: Floats = expit(logit_N)
        self.bin_N = np.minimum((self.probability_N * BINS).astype(np.int64), BINS - 1)

    def metrics(self, draws: Resampling) -> dict[str, Floats]:
        """Return each metric in every replicate, (R,); NaN if undefined."""
        both = bool(self.positive_N.any() and not self.positive_N.all())
        truth_N = self.positive_N.astype(np.float64)
        empty = np.full(len(draws.counts_RG), np.nan)
        n_R = draws.totals(np.ones(len(truth_N))) if len(truth_N) else np.zeros(len(empty))
        found = {
            "auroc": auroc(self.positive_N, self.ranked_N, draws) if both else empty,
            "ap": average_precision(self.positive_N, self.ranked_N, draws) if both else empty,
            "ece": np.abs(self.gaps(draws)).sum(1) if len(truth_N) else empty,
            "brier": safe_divide(draws.totals((self.probability_N - truth_N) ** 2), n_R) if len(truth_N) else empty,
        }
        return found

    def rates(
        self, groups: ArrayLike, draws: Resampling
    ) -> tuple[dict[str, float | None], dict[str, list[float] | None]]:
        """Return the `answer_rates` at the threshold with their intervals; None where there is no threshold."""
        if self.threshold is None or not len(self.positive_N):
            return no_rates()
        return answer_rates(self.positive_N, self.probability_N >= self.threshold, groups, draws)

    def gaps(self, draws: Resampling) -> Floats:
        """Return the mean probability minus the share of positives of each bin, times its share, (R, B)."""
        gap_NB = (self.bin_N[:, None] == np.arange(BINS)) * (self.probability_N - self.positive_N)[:, None]
        return safe_divide(draws.totals(gap_NB), draws.totals(np.ones((len(gap_NB), BINS))))

    def reliability(self) -> dict[str, list[Any]]:
        """Bin cases by probability as `classification.reliability` does; `accuracies` are the shares of positives."""
        return bins_of(self.probability_N, self.positive_N.astype(np.float64), self.bin_N)


def _only(draws: Resampling, known_N: NDArray[np.bool_]) -> Resampling:
    """Return the draws of the groups for some of the cases."""
    return Resampling(draws.counts_RG, draws.group_N[known_N])


def _row(case: _Case, now: dict[str, Floats], drawn: dict[str, Floats]) -> dict[str, Any]:
    point = {name: number(float(values[0])) for name, values in now.items()}
    spread = {name: None if point[name] is None else interval(values) for name, values in drawn.items()}
    return {
        **point,
        "threshold": case.threshold,
        "n_positive": int(case.positive_N.sum()),
        "n_negative": int((~case.positive_N).sum()),
        "ci": spread,
        "roc": roc(case.positive_N, case.ranked_N) if len(case.ranked_N) else None,
        "reliability": case.reliability(),
    }
