"""What one classifier loses against another on the same cases, and what the cases can decide.

Shape legend: N cases, C classes, R bootstrap replicates.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

from lorkit.decompose.bootstrap import Floats, Ints, checked, divide, interval, mean_defined, resample
from lorkit.decompose.errors import DataError


@dataclass(frozen=True, kw_only=True)
class PairedDrop:
    """What a candidate loses against a baseline on the same cases, in balanced accuracy.

    Attributes:
        drop: Baseline minus candidate; negative when the candidate is better.
        ci: Two-sided 95 % interval of the drop.
        decidable: Half-width of `ci`: the smallest allowed drop under which a candidate that loses nothing would be
            shown to stay with the cases at hand.
        baseline: Balanced accuracy of the baseline.
        candidate: Balanced accuracy of the candidate.
        n: Cases.
        groups: Groups.
        mcnemar_p: Exact two-sided McNemar test on the cases that only one of the two has right; a cross-check that
            knows neither class balance nor groups. None where hits are averages over several models.
    """

    drop: float
    ci: tuple[float, float]
    decidable: float
    baseline: float
    candidate: float
    n: int
    groups: int
    mcnemar_p: float | None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "ci": list(self.ci)}


def paired_drop(
    labels: ArrayLike,
    baseline_logits: ArrayLike,
    candidate_logits: ArrayLike,
    groups: ArrayLike,
    *,
    seed: int = 0,
    replicates: int = 2000,
) -> PairedDrop:
    """Compare two classifiers on the same cases: (N,) labels and groups, two times (N, C) logits.

    Raises:
        DataError: Shapes do not fit, a label is out of range, or a logit is not finite.
    """
    label_N, baseline_NC, group_N = checked(labels, baseline_logits, groups)
    _, candidate_NC, _ = checked(labels, candidate_logits, groups)
    if baseline_NC.shape != candidate_NC.shape:
        raise DataError(
            f"baseline logits {baseline_NC.shape} and candidate logits {candidate_NC.shape}",
            required="the same cases and classes on both sides",
            fix="compare models of one region",
        )
    hits = (baseline_NC.argmax(1) == label_N, candidate_NC.argmax(1) == label_N)
    return paired_difference(label_N, *hits, group_N, seed=seed, replicates=replicates)


def paired_difference(
    labels: ArrayLike,
    baseline_hits: ArrayLike,
    candidate_hits: ArrayLike,
    groups: ArrayLike,
    *,
    seed: int = 0,
    replicates: int = 2000,
) -> PairedDrop:
    """Compare per-case hits, each (N,) in [0, 1]; fractions are averages over several trained models.

    A percentile interval collapses when no drawn case tells the two apart, and would then decide anything from a
    handful of cases. So it is never narrower than what could still be hidden: with m groups in the rarest class, an
    event never seen has probability below 1 - 0.05^(1/m) at 95 %, and weighs 1/C in balanced accuracy.
    """
    label_N = np.asarray(labels, dtype=np.int64)
    hit_N2 = np.stack([np.asarray(baseline_hits, np.float64), np.asarray(candidate_hits, np.float64)], axis=1)
    draws = resample(np.asarray(groups), seed=seed, replicates=replicates)
    present = np.unique(label_N)
    member_NC = (label_N[:, None] == present[None]).astype(np.float64)
    baseline, candidate = ((member_NC * hit_N2[:, side, None]).sum(0) / member_NC.sum(0) for side in (0, 1))
    drop = float((baseline - candidate).mean())
    lost_RC = draws.totals(member_NC * (hit_N2[:, 0] - hit_N2[:, 1])[:, None])
    spread = interval(mean_defined(divide(lost_RC, draws.totals(member_NC)))) or [drop, drop]
    hidden = unseen(label_N, draws.group_N)
    low, high = min(spread[0], drop - hidden), max(spread[1], drop + hidden)
    return PairedDrop(
        drop=drop,
        ci=(low, high),
        decidable=(high - low) / 2,
        baseline=float(baseline.mean()),
        candidate=float(candidate.mean()),
        n=len(label_N),
        groups=draws.counts_RG.shape[1],
        mcnemar_p=mcnemar(hit_N2),
    )


def unseen(label_N: Ints, group_N: Ints) -> float:
    """Return what a difference that no case showed could still amount to in balanced accuracy, at 95 %."""
    present = np.unique(label_N)
    rarest = min(len(np.unique(group_N[label_N == label])) for label in present)
    return float((1.0 - 0.05 ** (1.0 / rarest)) / len(present))


def widened(spread: list[float] | None, value: float, hidden: float) -> list[float]:
    """Return the interval of a share; where it has no width, that of what the cases could still hide.

    Resampling cases that are all right (or all wrong) gives a width of zero, however few they are.
    """
    low, high = spread or [value, value]
    if high > low:
        return [low, high]
    return [max(0.0, min(low, value - hidden)), min(1.0, max(high, value + hidden))]


def mcnemar(hit_N2: Floats) -> float | None:
    """Return the p-value of the exact two-sided McNemar test of two columns of hits; None for averaged hits."""
    if not np.isin(hit_N2, (0.0, 1.0)).all():
        return None
    only_baseline = int((hit_N2[:, 0] > hit_N2[:, 1]).sum())
    discordant = int((hit_N2[:, 0] != hit_N2[:, 1]).sum())
    return float(binomtest(only_baseline, discordant, 0.5).pvalue) if discordant else 1.0
