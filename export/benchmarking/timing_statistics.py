"""Statistics of paired, noisy, autocorrelated timings: intervals, interim looks and bounds of percentiles.

Timings on a shared machine drift and are autocorrelated, so samples are assumed neither independent nor normal: two
networks are timed interleaved, the logarithm of the ratio of each pair is taken, and blocks of neighbouring pairs are
resampled. For the comparison with stored milliseconds see docs/benchmarks/gate.md.

Shape legend: P pairs in the order of measurement, R bootstrap replicates, B blocks per replicate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lorkit.decompose.artifacts.arrays import Floats
from lorkit.decompose.documents.measured import Ratio

ALPHA = 0.05
BLOCK = 10
"""Minimum number of neighbouring pairs that are resampled together."""
FIRST_LOOK = 40
REPLICATES = 2000
_CHUNK = 4_000_000
_CONFIDENCE = 0.95
"""Of one-sided bounds of percentiles."""


def paired_ratio(
    baselines: ArrayLike, candidate: ArrayLike, *, level: float = 1 - ALPHA, seed: int = 0, replicates: int = REPLICATES
) -> Ratio:
    """Compare engines that were timed interleaved.

    Args:
        baselines: (P,) positive times, or (P, K) of a baseline that was loaded K times: the candidate is compared with
            each, and the K medians are averaged, to average over locations in memory.
        candidate: (P,) times of the same cycles, in the same unit.
        level: Two-sided confidence.
        seed: Seed of the bootstrap.
        replicates: Bootstrap replicates.

    Raises:
        ValueError: Lengths differ, there are fewer than two pairs, or a time is not positive.
    """
    baseline_PK, candidate_P = np.asarray(baselines, np.float64), np.asarray(candidate, np.float64)
    if baseline_PK.ndim == 1:
        baseline_PK = baseline_PK[:, None]
    if candidate_P.ndim != 1 or baseline_PK.shape[:1] != candidate_P.shape or len(candidate_P) < 2:
        raise ValueError(f"pairs need equally many times, two at least: {baseline_PK.shape} and {candidate_P.shape}")
    if not (min(baseline_PK.min(), candidate_P.min()) > 0):
        raise ValueError("every time must be above 0")
    log_PK = np.log(candidate_P)[:, None] - np.log(baseline_PK)
    low, high = median_interval(log_PK, level=level, seed=seed, replicates=replicates)
    return Ratio(
        ratio=math.exp(float(np.median(log_PK, axis=0).mean())),
        ci=(math.exp(low), math.exp(high)),
        level=level,
        pairs=len(log_PK),
    )


def fastest_of_neighbours(times: ArrayLike, cycles: int) -> Floats:
    """Reduce times (P, A) to (P // cycles, A): the fastest of each engine among `cycles` neighbouring cycles.

    Blocks that the scheduler interrupted are not informative. On a loaded machine they move the median of the ratios
    towards 1 (a slow-down of 10 % looked like 6 %); the faster of two blocks is rarely interrupted.
    """
    times_PA = np.asarray(times, np.float64)
    pairs = len(times_PA) // cycles
    kept_PA: Floats = times_PA[: pairs * cycles].reshape(pairs, cycles, times_PA.shape[1]).min(axis=1)
    return kept_PA


def median_interval(
    values: Floats, *, level: float, seed: int = 0, replicates: int = REPLICATES
) -> tuple[float, float]:
    """Return the interval of the median of autocorrelated values, by the moving-block bootstrap.

    Percentiles of replicates are too narrow for few blocks, so the interval is at least Student's with one degree of
    freedom less than there are blocks, on the bootstrap's standard error.

    Args:
        values: (P,) in the order of measurement, or (P, K) for the mean of the K columns' medians.
        level: Two-sided confidence.
        seed: Seed of the bootstrap.
        replicates: Number of replicates.
    """
    from scipy.special import stdtrit  # which the stored times of a report do not need

    length = block_length(len(values))
    median_R = block_medians(values, length, seed=seed, replicates=replicates)
    tail = (1.0 - level) / 2
    low, high = np.quantile(median_R, [tail, 1.0 - tail])
    centre = float(np.median(values, axis=0).mean())
    reach = float(stdtrit(max(1, len(values) // length - 1), 1.0 - tail) * median_R.std(ddof=1))
    return min(float(low), centre - reach), max(float(high), centre + reach)


def block_length(pairs: int) -> int:
    """Return the block length for a number of pairs, long enough for runs of slow cycles."""
    return min(pairs, max(BLOCK, round(3 * float(np.cbrt(pairs)))))


def block_medians(values: Floats, block: int, *, seed: int, replicates: int) -> Floats:
    """Return the medians of (R,) replicates, each made of randomly placed blocks of neighbours.

    The columns of values (P, K) are resampled together, and their medians averaged.
    """
    generator = np.random.default_rng(seed)
    value_KP = np.atleast_2d(np.ascontiguousarray(values.T))
    columns, total = value_KP.shape
    drawn = -(-total // block)
    offset_L = np.arange(block)
    step = max(1, _CHUNK // (total * columns))
    parts = []
    for start in range(0, replicates, step):
        rows = min(step, replicates - start)
        start_RB = generator.integers(0, total - block + 1, size=(rows, drawn))
        index_RP = (start_RB[:, :, None] + offset_L).reshape(rows, -1)[:, :total]
        parts.append(np.mean([np.median(value_P[index_RP], axis=1) for value_P in value_KP], axis=0))
    return np.concatenate(parts)


@dataclass(frozen=True)
class InterimLooks:
    """Sizes of the interim looks at a growing sample, and the confidence at each.

    Stopping at the first decision of many looks would increase the error. The error allowed at a look doubles from look
    to look (strict early, when a burst of noise can mislead) and the last look has half: by Bonferroni, all looks
    together err at most `ALPHA`.

    Attributes:
        pairs: Sizes of the looks, ascending; the last may come earlier, when time is up.
    """

    pairs: tuple[int, ...]

    @classmethod
    def within(cls, affordable: int, *, first: int = FIRST_LOOK) -> InterimLooks:
        """Double the sample from look to look; the last look uses all affordable cycles."""
        sizes = [first]
        while sizes[-1] * 2 <= affordable:
            sizes.append(sizes[-1] * 2)
        sizes[-1] = max(first, affordable)
        return cls(tuple(sizes))

    def level(self, index: int, *, last: bool = False) -> float:
        """Return the confidence of the interval at one look; `last` if there is no other."""
        remaining = 0 if last else len(self.pairs) - 1 - index
        return 1.0 - ALPHA * 0.5 ** (remaining + 1)


def samples_for(percentile: float) -> int:
    """Return the fewest samples whose largest bounds a percentile from above: 29 for p90, 59 for p95, 299 for p99."""
    return math.ceil(math.log(1.0 - _CONFIDENCE) / math.log(percentile))


def percentile_bound(samples: Sequence[float] | Floats, percentile: float) -> float | None:
    """Return the distribution-free upper confidence bound of a percentile from order statistics.

    The r-th smallest of n samples is above the percentile q with the probability that fewer than r of them are below
    it, a binomial tail. None if there are too few samples.
    """
    ordered = np.sort(np.asarray(samples, np.float64))
    if len(ordered) < samples_for(percentile):
        return None
    rank = _binomial_quantile(_CONFIDENCE, len(ordered), percentile) + 1
    return float(ordered[rank - 1])


def percentile_floor(samples: Sequence[float] | Floats, percentile: float) -> float | None:
    """Return the lower confidence bound of a percentile from order statistics; None if there are too few samples."""
    ordered = np.sort(np.asarray(samples, np.float64))
    rank = _binomial_quantile(1.0 - _CONFIDENCE, len(ordered), percentile)
    return float(ordered[rank - 1]) if rank >= 1 else None


def _binomial_quantile(level: float, n: int, probability: float) -> int:
    """Return the smallest count of n with at least this probability of not exceeding it."""
    from scipy.special import bdtr, bdtrik

    count: int = max(0, math.ceil(bdtrik(level, n, probability)))
    return count - 1 if count and bdtr(count - 1, n, probability) >= level else count


def percentile(samples: Sequence[float] | Floats, fraction: float) -> float | None:
    """Return the plain estimate of a percentile; None if there are too few samples to bound it."""
    if len(samples) < samples_for(fraction):
        return None
    return float(np.quantile(np.asarray(samples, np.float64), fraction))
