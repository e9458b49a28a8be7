"""Paired drop between two models on the same cases, and the difference that the cases can decide.

Shape legend: N cases, G groups, S classes or structures, R bootstrap replicates.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lorkit.decompose.artifacts.arrays import Floats, Ints
from lorkit.decompose.errors import DataError, plural
from lorkit.decompose.metrics.bootstrap import check_scores, mean_defined, safe_divide, sum_groups, weighted_totals
from lorkit.decompose.metrics.intervals import DropUncertainty, UnseenPatient

REPLICATES = 2000
"""Bootstrap replicates of every paired difference."""
UNSEEN_DICE = 0.2
"""Smallest drop in Dice of the unseen patient."""
UNSEEN_PATIENTS = 0.1
"""Largest share of patients that may lose as much as the unseen one, for the allowed drop to be exceeded."""


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

    The interval includes that one further patient loses everything; see `intervals`.
    """
    label_N = np.asarray(labels, dtype=np.int64)
    hit_N2 = np.stack([np.asarray(baseline_hits, np.float64), np.asarray(candidate_hits, np.float64)], axis=1)
    own_NC = label_N[:, None] == np.unique(label_N)
    baseline, candidate = (np.where(own_NC, hit_N2[:, side, None], np.nan) for side in (0, 1))
    found = paired_cases(baseline, candidate, groups, seed=seed)
    return replace(found, mcnemar_p=mcnemar(hit_N2))


def paired_cases(
    baseline_NS: Floats,
    candidate_NS: Floats,
    groups: ArrayLike,
    *,
    unseen: float = 1.0,
    most: float = 1.0,
    seed: int = 0,
) -> PairedDrop:
    """Compare the `scores_by_case` of two models on the same cases; NaN is undefined.

    Args:
        baseline_NS: Scores of the baseline, in [0, 1].
        candidate_NS: Scores of the candidate.
        groups: (N,) group of each case.
        unseen: Loss in each case of the further patient of `DropUncertainty`, at least the largest of a group here. 1
            is everything.
        most: Largest possible loss in a case; 2 for the scores of a macro AUROC (`multilabel.scores_by_case`).
        seed: Seed of the bootstrap.
    """
    group_N = np.unique(np.asarray(groups), return_inverse=True)[1]
    rates = [mean_defined(cases.T) for cases in (baseline_NS, candidate_NS)]
    drop = float(mean_defined(rates[0] - rates[1]))
    uncertainty = _uncertainty(drop, (baseline_NS, candidate_NS), group_N, (unseen, most), seed)
    low, high = uncertainty.interval()
    return PairedDrop(
        drop=drop,
        ci=(low, high),
        decidable=(high - low) / 2,
        baseline=float(mean_defined(rates[0])),
        candidate=float(mean_defined(rates[1])),
        n=len(baseline_NS),
        groups=int(group_N.max()) + 1,
        mcnemar_p=None,
        uncertainty=uncertainty,
    )


def _uncertainty(
    drop: float, sides: tuple[Floats, Floats], group_N: Ints, losses: tuple[float, float], seed: int
) -> DropUncertainty:
    """Resample the groups with a further one that lost, and with one that gained, as much as is assumed."""
    unseen, most = losses
    groups = int(group_N.max()) + 1
    known = [np.isfinite(cases) for cases in sides]
    parts = (np.where(known[0], sides[0], 0.0), known[0], np.where(known[1], sides[1], 0.0), known[1])
    sums_G4S = sum_groups(np.stack(parts, axis=1), group_N, groups)
    largest_G = np.abs(_drops(sums_G4S))
    loss = min(most, max(unseen, float(largest_G[np.isfinite(largest_G)].max(initial=0.0))))
    # a class that only one side defines has no difference
    heaviest_S, share, reach = heaviest_group((known[0] | known[1]) & known[0].any(0) & known[1].any(0), group_N)
    flat, further_R = weighted_totals(sums_G4S.reshape(groups, -1), seed=seed, replicates=REPLICATES)
    totals_R4S = flat.reshape(len(flat), *sums_G4S.shape[1:])

    def with_patient(baseline: float, candidate: float) -> Floats:
        more_4S = np.outer([baseline, 1.0, candidate, 1.0], heaviest_S)
        return _drops(totals_R4S + further_R[:, None, None] * more_4S)

    return DropUncertainty(
        drop=drop,
        gained_R=with_patient(1.0 - loss, 1.0),
        lost_R=with_patient(1.0, 1.0 - loss),
        unseen=UnseenPatient(share=loss * share, reach=loss * reach),
        unseen_loss=loss / most,
    )


def _drops(sums_R4S: Floats) -> Floats:
    """Return the drop in the mean over classes, (R,), from sums and numbers of scores of baseline and candidate."""
    one_RS, known_one_RS, two_RS, known_two_RS = sums_R4S.transpose(1, 0, 2)
    return mean_defined(safe_divide(one_RS, known_one_RS) - safe_divide(two_RS, known_two_RS))


def heaviest_group(known_NS: NDArray[np.bool_], group_N: Ints) -> tuple[Floats, float, float]:
    """Return the group whose cases weigh most in the mean over classes.

    Args:
        known_NS: Which scores are defined.
        group_N: Index of the group of each case.

    Returns:
        Its number of cases by class (S,), its share in the mean over the defined classes, and the share of these
        classes of which it has cases.
    """
    known_GS = sum_groups(known_NS, group_N, int(group_N.max()) + 1)
    total_S = known_GS.sum(0)
    share_GS = safe_divide(known_GS, np.broadcast_to(total_S, known_GS.shape))
    weight_G = mean_defined(share_GS)
    if not total_S.any():
        return known_GS[0], 0.0, 0.0
    heaviest = int(weight_G.argmax())
    return known_GS[heaviest], float(weight_G[heaviest]), float((share_GS[heaviest] > 0).sum() / (total_S > 0).sum())


def unseen_bound(known_NS: NDArray[np.bool_], groups: ArrayLike, loss: float = 1.0) -> float:
    """Return the largest loss in the mean over classes that no group has shown, with error `ALPHA` / 2.

    Args:
        known_NS: Which scores are defined.
        groups: (N,) group of each case.
        loss: Loss in each case of a group that lost.
    """
    _, share, reach = heaviest_group(known_NS, np.unique(np.asarray(groups), return_inverse=True)[1])
    return UnseenPatient(share=loss * share, reach=loss * reach).bound()


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
    from scipy.special import bdtr

    if not np.isin(hit_N2, (0.0, 1.0)).all():
        return None
    only_baseline = int((hit_N2[:, 0] > hit_N2[:, 1]).sum())
    discordant = int((hit_N2[:, 0] != hit_N2[:, 1]).sum())
    rarer = min(only_baseline, discordant - only_baseline)
    return min(1.0, 2.0 * float(bdtr(rarer, discordant, 0.5)))


def paired_means(
    baseline_NS: Floats, candidate_NS: Floats, groups: ArrayLike, *, allowed: float, seed: int = 0
) -> PairedDrop:
    """Compare two models by the mean over structures of the mean over cases, to judge an allowed drop.

    Unlike a hit, a Dice coefficient is seldom lost whole. The unseen patient loses `UNSEEN_DICE`, or as much as a tenth
    of the patients must lose for the allowed drop, or the largest loss of a patient here, whichever is largest.

    Args:
        baseline_NS: The `scores_by_case` of a task, in [0, 1], NaN if a case is undefined for a structure.
        candidate_NS: The same of the candidate.
        groups: (N,) patient (or other cluster) of each case.
        allowed: Allowed drop.
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
    unseen = max(UNSEEN_DICE, allowed / UNSEEN_PATIENTS)
    return paired_cases(baseline_NS, candidate_NS, groups, unseen=unseen, seed=seed)
