"""Average precision of one model or two on the same cases, with the uncertainty of few groups.

Average precision is no mean over cases: a case's share depends on all others, and on how many positive cases there are.
So every replicate computes it anew, with a random weight of each group (the Bayesian bootstrap, as in `paired`).

As in `intervals`, each end of an interval has one further group, the worst that is possible: as large as the one at
hand whose loss would cost most, with its positive cases below all others and its negative cases above all others, or
the other way round.

Shape legend: N cases, G groups, R replicates, S steps of falling score that end with positive cases, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import Floats, Ints
from lorkit.decompose.metrics.bootstrap import CHUNK, mean_defined
from lorkit.decompose.metrics.intervals import ALPHA, DropUncertainty, UnseenPatient
from lorkit.decompose.metrics.paired import REPLICATES, PairedDrop
from lorkit.decompose.metrics.rates import Rate

_TAIL = ALPHA / 2


class Ends(NamedTuple):
    """Average precision as it is, and with a further group that is all wrong, or all right; each (R,)."""

    value_R: Floats
    wrong_R: Floats
    right_R: Floats


class _Ranking:
    """The order of one class's cases by one model."""

    def __init__(self, positive_N: NDArray[np.bool_], score_N: Floats) -> None:
        self.order_N = np.argsort(-score_N, kind="stable")
        self.positive_N = positive_N[self.order_N].astype(np.float64)
        level_N = np.cumsum(np.diff(-score_N[self.order_N], prepend=-np.inf) > 0) - 1
        last_L = np.append(np.flatnonzero(np.diff(level_N)), len(level_N) - 1)
        ends = last_L[np.add.reduceat(self.positive_N, np.append(0, last_L[:-1] + 1)) > 0]
        # negative cases below the last positive one are a step of their own
        self.starts = np.unique(np.append(0, ends + 1))
        self.starts = self.starts[self.starts < len(level_N)]

    def steps(self, weight_RN: Floats) -> tuple[Floats, Floats]:
        """Return the weight of positive and of all cases in each step, (R, S) each."""
        weight_RN = weight_RN[:, self.order_N]
        return (
            np.add.reduceat(weight_RN * self.positive_N, self.starts, axis=1),
            np.add.reduceat(weight_RN, self.starts, axis=1),
        )

    def ends(self, weight_RN: Floats, further_R: Floats, further: tuple[float, float]) -> Ends:
        """Return the average precision with weights of cases; `further` are the numbers of the further group."""
        own_RS, all_RS = self.steps(weight_RN)
        found_RS, seen_RS = np.cumsum(own_RS, axis=1), np.cumsum(all_RS, axis=1)
        positives_R, total_R = found_RS[:, -1], seen_RS[:, -1]
        more_R, false_R = (further_R * count for count in further)

        def added(up_R: Floats, down_R: Floats) -> Floats:
            """Return the sum of weighted precisions with further positive and negative cases above all others."""
            precision_RS = (found_RS + up_R[:, None]) / (seen_RS + (up_R + down_R)[:, None])
            sum_R: Floats = np.einsum("rs,rs->r", own_RS, precision_RS)
            return sum_R

        none_R = np.zeros_like(further_R)
        with np.errstate(invalid="ignore"):  # without positive cases there is no average precision
            last_R = (positives_R + more_R) / (total_R + more_R + false_R)
            return Ends(
                added(none_R, none_R) / positives_R,
                (added(none_R, false_R) + more_R * last_R) / (positives_R + more_R),
                (added(more_R, none_R) + more_R) / (positives_R + more_R),
            )


def case_values(positive_N: NDArray[np.bool_], score_N: Floats) -> Floats:
    """Return (N,) whose mean is the average precision, and whose resampled means vary as it does to first order.

    A value is the average precision plus N times its derivative by the weight of the case, which is the influence of
    the case. Negative cases count where they are above positive ones. NaN without a positive or a negative case.
    """
    total = len(score_N)
    if positive_N.all() or not positive_N.any():
        return np.full(total, np.nan)
    ranking = _Ranking(positive_N, score_N)
    (own_S,), (all_S,) = ranking.steps(np.ones((1, total)))
    found_S, seen_S, positives = np.cumsum(own_S), np.cumsum(all_S), float(own_S.sum())
    precision = float(own_S @ (found_S / seen_S)) / positives
    # of a case in a step: sums over the steps from its own downwards
    lifted_S, lowered_S = (
        np.cumsum((own_S * part_S / seen_S**2)[::-1])[::-1] for part_S in (seen_S - found_S, found_S)
    )
    step_N = np.repeat(np.arange(len(ranking.starts)), np.diff(np.append(ranking.starts, total)))
    own_N = ((found_S / seen_S)[step_N] - precision + lifted_S[step_N]) / positives
    value_N = np.empty(total)
    value_N[ranking.order_N] = precision + total * np.where(
        ranking.positive_N > 0, own_N, -lowered_S[step_N] / positives
    )
    return value_N


def precision_rate(members_NK: NDArray[np.bool_], score_NK: Floats, group_N: Ints, *, seed: int) -> Rate:
    """Return the mean over classes of the average precision of one model, with its interval.

    Args:
        members_NK: Which cases are of a class.
        score_NK: Their scores for it.
        group_N: Group of each case, from 0.
        seed: Seed of the bootstrap.
    """
    groups = int(group_N.max()) + 1
    (point,) = _ends(members_NK, (score_NK,), group_N, seed, once=True)
    (found,) = _ends(members_NK, (score_NK,), group_N, seed)
    value = float(point.value_R[0])
    if not np.isfinite(value):
        return Rate(value, (0.0, 1.0), groups)
    low, high = float(np.quantile(found.wrong_R, _TAIL)), float(np.quantile(found.right_R, 1.0 - _TAIL))
    return Rate(value, (min(low, value), max(high, value)), groups)


def paired_precision(
    members_NK: NDArray[np.bool_], baseline_NK: Floats, candidate_NK: Floats, group_N: Ints, *, seed: int
) -> PairedDrop:
    """Compare two models by the mean over classes of their average precision on the same cases.

    A class without a positive or without a negative case is left out; the drop is NaN if there is no other.

    Args:
        members_NK: Which cases are of a class.
        baseline_NK: Scores of the baseline for it.
        candidate_NK: Scores of the candidate.
        group_N: Group of each case, from 0.
        seed: Seed of the bootstrap.
    """
    sides = baseline_NK, candidate_NK
    one, two = (float(side.value_R[0]) for side in _ends(members_NK, sides, group_N, seed, once=True))
    baseline, candidate = _ends(members_NK, sides, group_N, seed)
    uncertainty = DropUncertainty(
        drop=one - two,
        gained_R=baseline.wrong_R - candidate.right_R,
        lost_R=baseline.right_R - candidate.wrong_R,
        unseen=unseen_group(members_NK, group_N),
        unseen_loss=1.0,
    )
    low, high = uncertainty.interval() if np.isfinite(one - two) else (-1.0, 1.0)
    return PairedDrop(
        drop=one - two,
        ci=(low, high),
        decidable=(high - low) / 2,
        baseline=one,
        candidate=two,
        n=len(group_N),
        groups=int(group_N.max()) + 1,
        mcnemar_p=None,
        uncertainty=uncertainty,
    )


def unseen_group(members_NK: NDArray[np.bool_], group_N: Ints) -> UnseenPatient:
    """Return the further group: what a perfect model loses if it is all wrong."""
    # without ties, so that each positive case has a precision of its own
    perfect_NK = members_NK + 0.5 * np.arange(len(members_NK))[:, None] / len(members_NK)
    (found,) = _ends(members_NK, (perfect_NK,), group_N, 0, once=True)
    lost = float(1.0 - found.wrong_R[0])
    return UnseenPatient(share=lost if np.isfinite(lost) else 0.0, reach=1.0)


def _ends(
    members_NK: NDArray[np.bool_], sides: Sequence[Floats], group_N: Ints, seed: int, *, once: bool = False
) -> list[Ends]:
    """Return the means over classes of each side, in replicates with common weights, or once with all weights 1."""
    defined = [k for k, own_N in enumerate(members_NK.T) if own_N.any() and not own_N.all()]
    rankings = [[_Ranking(members_NK[:, k], side_NK[:, k]) for k in defined] for side_NK in sides]
    furthers = [_further(members_NK[:, k], group_N) for k in defined]
    groups = int(group_N.max()) + 1
    blocks = [(np.ones((1, groups)), np.ones(1))] if once else _weights(groups, len(group_N), seed)
    rows: list[list[NDArray[np.float64]]] = [[] for _ in sides]
    for weight_RG, further_R in blocks:
        weight_RN = weight_RG[:, group_N]
        for found, ranked in zip(rows, rankings, strict=True):
            classes = [
                np.stack(one.ends(weight_RN, further_R, further)) for one, further in zip(ranked, furthers, strict=True)
            ]
            found.append(mean_defined(np.stack(classes, axis=-1)) if classes else np.full((3, len(further_R)), np.nan))
    return [Ends(*np.concatenate(found, axis=1)) for found in rows]


def _further(own_N: NDArray[np.bool_], group_N: Ints) -> tuple[float, float]:
    """Return the numbers of positive and of negative cases of the group without which a perfect model loses most.

    A negative case above all others costs more than a positive one below them: about log(P) / P against 1 / P.
    """
    from scipy.special import digamma

    more_G, false_G = (np.bincount(group_N, kind_N) for kind_N in (own_N, ~own_N))
    positives, total = more_G.sum(), len(own_N)
    # the sum of i / (i + f) over the positive cases i = 1..P, below f negative ones
    above_G = positives - false_G * (digamma(positives + false_G + 1) - digamma(false_G + 1))
    below_G = more_G * (positives + more_G) / (total + more_G + false_G)
    worst = int(((above_G + below_G) / (positives + more_G)).argmin())
    return float(more_G[worst]), float(false_G[worst])


def _weights(groups: int, cases: int, seed: int) -> Iterator[tuple[Floats, Floats]]:
    """Yield independent exponential weights of the groups, and of the further one, in blocks of replicates."""
    generator = np.random.default_rng(seed)
    step = max(1, CHUNK // max(groups + 1, cases))
    for start in range(0, REPLICATES, step):
        weight_RG = generator.standard_exponential((min(step, REPLICATES - start), groups + 1))
        yield weight_RG[:, :groups], weight_RG[:, groups]
