"""The variance of a mean over seeds and patients, both random, and the interval of this mean.

Every seed is scored on every patient (a crossed design without repetition):

    value[s, g] = mean + seed[s] + patient[g] + rest[s, g]

The mean squares of the analysis of variance have the expectations G var(seed) + var(rest), S var(patient) + var(rest)
and var(rest). So (MS_seed + MS_patient - MS_rest) / (S G) is an unbiased estimate of the variance of the overall mean.
Its degrees of freedom are those of Satterthwaite (Biometrics Bulletin 2, 1946). The same problem is known for readers
and cases in radiology (Gallas, Academic Radiology 13, 2006).

Several regions have their own patients and common seeds: a seed decides the networks of all regions.

Shape legend: S seeds, G patients (groups) of a region.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from lorkit.decompose.artifacts.arrays import Floats

_ROUNDING = 1e-24


class MeanVariance(NamedTuple):
    """Variance of a mean, and the degrees of freedom of this estimate."""

    variance: float
    degrees: float

    def half_width(self, level: float = 0.95) -> float:
        """Return half the width of Student's interval; infinite without degrees of freedom."""
        if not self.degrees > 0:
            return math.inf
        return float(stdtrit(self.degrees, (1.0 + level) / 2)) * math.sqrt(self.variance)


def mean_variance(regions: Sequence[Floats]) -> MeanVariance:
    """Return the variance of the mean over regions of the means over seeds and patients.

    Args:
        regions: (S, G) values of each region, with the same seeds. With one seed the variance is that of patients only.

    Returns:
        The variance; without degrees of freedom if a region has one patient.
    """
    seeds = len(regions[0])
    if min(values.shape[1] for values in regions) < 2:
        return MeanVariance(math.nan, 0.0)
    parts = [_of_patients(values_SG) for values_SG in regions]
    terms = [(part.variance / len(regions) ** 2, part.degrees) for part in parts]
    if seeds > 1:
        # the variance of seeds contains that of the rest
        mean_S = np.mean([values.mean(1) for values in regions], axis=0)
        terms.append((float(mean_S.var(ddof=1)) / seeds, float(seeds - 1)))
    variance = sum(term for term, _ in terms)
    if variance < _ROUNDING:  # all values are equal
        return MeanVariance(0.0, 1.0)
    return MeanVariance(variance, variance**2 / sum(term**2 / degrees for term, degrees in terms))


def _of_patients(values_SG: Floats) -> MeanVariance:
    """Return the part of the variance that is due to patients, at least 0, and its own degrees of freedom."""
    seeds, patients = values_SG.shape
    mean_square = float(seeds * values_SG.mean(0).var(ddof=1))
    if seeds == 1:
        return MeanVariance(mean_square / patients, float(patients - 1))
    rest_SG = values_SG - values_SG.mean(0) - values_SG.mean(1, keepdims=True) + values_SG.mean()
    rest = float((rest_SG**2).sum()) / ((seeds - 1) * (patients - 1))
    difference = max(0.0, mean_square - rest)
    if difference == 0.0:
        return MeanVariance(0.0, math.inf)
    spread = mean_square**2 / (patients - 1) + rest**2 / ((seeds - 1) * (patients - 1))
    return MeanVariance(difference / (seeds * patients), difference**2 / spread)
