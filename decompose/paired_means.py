"""What one model loses against another in a score that varies from case to case, such as Dice, when groups are few.

Shape legend: N cases, S structures, G groups.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lorkit.decompose.bootstrap import Floats, Resampling, resample
from lorkit.decompose.errors import DataError
from lorkit.decompose.paired import PairedDrop, lost_rates, paired_cases
from lorkit.decompose.words import counted


def paired_means(
    baseline_NS: Floats, candidate_NS: Floats, groups: ArrayLike, *, seed: int = 0, replicates: int = 2000
) -> PairedDrop:
    """Compare two models by the mean over structures of the mean over cases, with an interval that few groups earn.

    A percentile interval of few groups is too narrow, so its ends lie at the quantiles that Student's t asks for (the
    expanded percentile interval of Hesterberg, The American Statistician 69, 2015, section 4.1). Nor is it ever
    narrower than what could still be hidden: with G groups an event never seen has a probability below
    1 - 0.05^(1/G) at 95 %, and is taken to weigh as much as the largest difference that a group showed. Fewer
    groups than `spread.FEWEST` decide nothing: the interval is then [-1, 1].

    Args:
        baseline_NS: The `cases` of a task, in [0, 1], NaN where a case says nothing about a structure.
        candidate_NS: Likewise, of the same cases.
        groups: (N,) patient (or other cluster) of each case.
        seed: Seed of the bootstrap.
        replicates: Bootstrap replicates.

    Raises:
        DataError: No case says anything about any structure in both models.
    """
    if not (np.isfinite(baseline_NS).any() and np.isfinite(candidate_NS).any()):
        raise DataError(
            f"{counted(len(baseline_NS), 'case')} without any structure",
            required="at least one case that shows a structure",
            fix="add such cases",
        )
    draws = resample(np.asarray(groups), seed=seed, replicates=1)
    total = draws.counts_RG.shape[1]
    each_G = lost_rates(baseline_NS, candidate_NS, Resampling(np.eye(total), draws.group_N))
    largest = float(np.abs(each_G[np.isfinite(each_G)]).max(initial=0.0))
    return paired_cases(
        baseline_NS, candidate_NS, groups, rarest=total, weight=largest, few=True, seed=seed, replicates=replicates
    )
