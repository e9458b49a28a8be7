"""Paired drop between two models on the same cases, and the difference that the cases can decide.

Shape legend: N cases, C classes, S classes or structures, R bootstrap replicates.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr

from lorkit.decompose.artifacts.arrays import Floats, Ints
from lorkit.decompose.errors import DataError, plural
from lorkit.decompose.metrics.bootstrap import Resampling, check_scores, mean_defined, resample
from lorkit.decompose.metrics.intervals import DropUncertainty, zero_event_bound

REPLICATES = 2000
"""Bootstrap replicates of every paired difference."""


@dataclass(frozen=True, kw_only=True)
class PairedDrop:
    """Drop from a baseline to a candidate on the same cases, in the headline metric of their task.

    Attributes:
        drop: Baseline minus candidate; negative if the candidate is better.
        ci: Two-sided 95 % interval of the drop.
        decidable: Half-width of `ci`: the smallest allowed drop within which these cases could show a candidate without
            loss to be.
        baseline: Headline metric of the baseline: balanced accuracy, or mean Dice.
        candidate: Headline metric of the candidate.
        n: Cases.
        groups: Groups.
        mcnemar_p: Exact two-sided McNemar test on the cases that only one of the two has right; a cross-check that
            ignores class balance and groups. None for averaged hits or without hits.
        uncertainty: Uncertainty of the drop at other levels.
    """

    drop: float
    ci: tuple[float, float]
    decidable: float
    baseline: float
    candidate: float
    n: int
    groups: int
    mcnemar_p: float | None
    uncertainty: DropUncertainty | None = field(default=None, repr=False, compare=False)


def paired_drop(
    labels: ArrayLike, baseline_logits: ArrayLike, candidate_logits: ArrayLike, groups: ArrayLike, *, seed: int = 0
) -> PairedDrop:
    """Compare two classifiers on the same cases: (N,) labels and groups, two times (N, C) logits.

    Raises:
        DataError: Shapes do not match, a label is out of range, or a logit is not finite.
    """
    label_N, baseline_NC, group_N = check_scores(labels, baseline_logits, groups)
    _, candidate_NC, _ = check_scores(labels, candidate_logits, groups)
    if baseline_NC.shape != candidate_NC.shape:
        raise DataError(
            f"baseline logits {baseline_NC.shape} and candidate logits {candidate_NC.shape}",
            required="the same cases and classes on both sides",
            fix="compare models of one region",
        )
    hits = (baseline_NC.argmax(1) == label_N, candidate_NC.argmax(1) == label_N)
    return paired_difference(label_N, *hits, group_N, seed=seed)


def paired_difference(
    labels: ArrayLike, baseline_hits: ArrayLike, candidate_hits: ArrayLike, groups: ArrayLike, *, seed: int = 0
) -> PairedDrop:
    """Compare hits per case, each (N,) in [0, 1]; fractions are averages over several trained models.

    A percentile interval has no width if no drawn case differs, and would decide anything from a few cases. So it is
    never narrower than a difference that may be unseen: with m groups in the rarest class, an event never seen has
    probability below 1 - 0.05^(1/m) at 95 %, and weight 1/C in balanced accuracy.
    """
    label_N, group_N = np.asarray(labels, dtype=np.int64), np.unique(np.asarray(groups), return_inverse=True)[1]
    hit_N2 = np.stack([np.asarray(baseline_hits, np.float64), np.asarray(candidate_hits, np.float64)], axis=1)
    own_NC = label_N[:, None] == np.unique(label_N)
    baseline, candidate = (np.where(own_NC, hit_N2[:, side, None], np.nan) for side in (0, 1))
    rarest_groups, weight = groups_of_rarest_class(label_N, group_N)
    found = paired_cases(baseline, candidate, groups, rarest_groups=rarest_groups, weight=weight, seed=seed)
    return replace(found, mcnemar_p=mcnemar(hit_N2))


def paired_cases(
    baseline_NS: Floats,
    candidate_NS: Floats,
    groups: ArrayLike,
    *,
    rarest_groups: int = 1,
    weight: float = 0.0,
    few_groups: bool = False,
    seed: int = 0,
) -> PairedDrop:
    """Compare the `scores_by_case` of two models on the same cases; NaN is undefined.

    Args:
        baseline_NS: Scores of the baseline, in [0, 1].
        candidate_NS: Scores of the candidate.
        groups: (N,) group of each case.
        rarest_groups: Groups that could have shown an unseen difference; see `DropUncertainty`.
        weight: Contribution of such a difference; 0 for none.
        few_groups: Widen the interval for few groups; see `DropUncertainty`.
        seed: Seed of the bootstrap.
    """
    draws = resample(np.asarray(groups), seed=seed, replicates=REPLICATES)
    rates = [mean_defined(cases.T) for cases in (baseline_NS, candidate_NS)]
    drop = float(mean_defined(rates[0] - rates[1]))
    total = draws.counts_RG.shape[1]
    uncertainty = DropUncertainty(
        drop=drop,
        drop_R=drop_replicates(baseline_NS, candidate_NS, draws),
        rarest_groups=rarest_groups,
        weight=weight,
        small_sample_groups=total if few_groups else None,
    )
    low, high = uncertainty.interval()
    return PairedDrop(
        drop=drop,
        ci=(low, high),
        decidable=(high - low) / 2,
        baseline=float(mean_defined(rates[0])),
        candidate=float(mean_defined(rates[1])),
        n=len(baseline_NS),
        groups=total,
        mcnemar_p=None,
        uncertainty=uncertainty,
    )


def drop_replicates(baseline_NS: Floats, candidate_NS: Floats, draws: Resampling) -> Floats:
    """Return the drop in each replicate, (R,)."""
    return mean_defined(draws.means(baseline_NS) - draws.means(candidate_NS))


def undetected_drop(label_N: Ints, group_N: Ints) -> float:
    """Return the largest drop in balanced accuracy that no case has shown, at 95 %."""
    return zero_event_bound(*groups_of_rarest_class(label_N, group_N))


def groups_of_rarest_class(label_N: Ints, group_N: Ints) -> tuple[int, float]:
    """Return the number of groups of the rarest class, and the weight of a class in balanced accuracy."""
    present = np.unique(label_N)
    return min(len(np.unique(group_N[label_N == label])) for label in present), 1.0 / len(present)


def widen_if_degenerate(interval: list[float] | None, value: float, bound: float) -> list[float]:
    """Return the interval of a rate; if it has no width, one with the difference that may be unseen.

    Resampling cases that are all right (or all wrong) gives a width of zero, however few they are.
    """
    low, high = interval or [value, value]
    if high > low:
        return [low, high]
    return [max(0.0, min(low, value - bound)), min(1.0, max(high, value + bound))]


def mcnemar(hit_N2: Floats) -> float | None:
    """Return the p-value of the exact two-sided McNemar test of two columns of hits; None for averaged hits."""
    if not np.isin(hit_N2, (0.0, 1.0)).all():
        return None
    only_baseline = int((hit_N2[:, 0] > hit_N2[:, 1]).sum())
    discordant = int((hit_N2[:, 0] != hit_N2[:, 1]).sum())
    rarer = min(only_baseline, discordant - only_baseline)
    return min(1.0, 2.0 * float(bdtr(rarer, discordant, 0.5)))


def paired_means(baseline_NS: Floats, candidate_NS: Floats, groups: ArrayLike, *, seed: int = 0) -> PairedDrop:
    """Compare two models by the mean over structures of the mean over cases, with an interval for few groups.

    Percentiles of few groups are too narrow, so the ends are the quantiles of Student's t (the expanded percentile
    interval of Hesterberg, The American Statistician 69, 2015, section 4.1). The interval is never narrower than a
    difference that may be unseen: with G groups an event never seen has a probability below 1 - 0.05^(1/G) at 95 %, and
    is given the weight of the largest difference of a group. Below `intervals.MIN_GROUPS` groups nothing is decided:
    the interval is [-1, 1].

    Args:
        baseline_NS: The `scores_by_case` of a task, in [0, 1], NaN if a case is undefined for a structure.
        candidate_NS: The same of the candidate.
        groups: (N,) patient (or other cluster) of each case.
        seed: Seed of the bootstrap.

    Raises:
        DataError: No case is defined for any structure in both models.
    """
    if not (np.isfinite(baseline_NS).any() and np.isfinite(candidate_NS).any()):
        raise DataError(
            f"{plural(len(baseline_NS), 'case')} without any structure",
            required="at least one case that shows a structure",
            fix="add such cases",
        )
    draws = resample(np.asarray(groups), seed=seed, replicates=1)
    total = draws.counts_RG.shape[1]
    each_G = drop_replicates(baseline_NS, candidate_NS, Resampling(np.eye(total), draws.group_N))
    largest = float(np.abs(each_G[np.isfinite(each_G)]).max(initial=0.0))
    return paired_cases(
        baseline_NS, candidate_NS, groups, rarest_groups=total, weight=largest, few_groups=True, seed=seed
    )
