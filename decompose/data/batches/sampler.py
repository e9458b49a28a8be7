"""Sampling of batches: shares of regions, and resumable streams without replacement.

Everything is a function of (seed, epoch), so that nothing is stored to resume exactly. The stream of a region is an
endless sequence of shuffled passes over its samples. An epoch takes the next segment, and every rank its own part of
it: a small region starts its next pass within an epoch, and a large one continues in the next epoch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.errors import UsageError

_LEAST = 2  # batch statistics of a region need two samples


class DrawnSamples(NamedTuple):
    """Samples of one region in one batch: indices, and the pass of the stream that each belongs to."""

    indices: NDArray[np.int64]
    passes: NDArray[np.int64]


class RegionSampler:
    """Batches of mixed regions for one rank.

    Args:
        counts: Number of training samples of each region, in routing order.
        batch_size: Samples per batch of one rank, at least 2.
        policy: `balanced` gives regions equal shares, `proportional` by size, `sqrt` by the square root of the size.
        seed: Seed of all streams.
        least_steps: An epoch has at least these steps; the streams then go on into their next passes.
        rank: This process.
        world_size: Number of processes; together they draw `world_size` batches per step.

    Raises:
        UsageError: Too small a batch, or no samples.
    """

    def __init__(
        self,
        counts: Mapping[str, int],
        *,
        batch_size: int,
        policy: str,
        seed: int,
        least_steps: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size < _LEAST or not counts or min(counts.values()) < 1:
            raise UsageError(
                f"batches of {batch_size} from regions of {', '.join(str(count) for count in counts.values())} samples",
                required=f"batches of at least {_LEAST} and no empty region",
                fix="raise train.batch_size or leave the region out",
            )
        self.counts = dict(counts)
        self._seed, self._rank, self._world = seed, rank, world_size
        self.steps = max(1, least_steps, round(sum(counts.values()) / (batch_size * world_size)))
        self.samples_per_batch = allocate_samples(region_shares(list(counts.values()), policy), batch_size, self.steps)

    def epoch(self, epoch: int) -> list[dict[str, DrawnSamples]]:
        """Return the batches of an epoch for this rank: regions in routing order, absent ones omitted."""
        batches: list[dict[str, DrawnSamples]] = [{} for _ in range(self.steps)]
        for column, (name, count) in enumerate(self.counts.items()):
            samples_per_batch = self.samples_per_batch[:, column]
            drawn = int(samples_per_batch.sum()) * self._world
            segment = self._segment(name, count, epoch * drawn, drawn)
            ends = np.cumsum(samples_per_batch) * self._world
            for step in range(self.steps):
                take = int(samples_per_batch[step])
                start = int(ends[step]) - take * (self._world - self._rank)
                if take:
                    batches[step][name] = DrawnSamples(*(values[start : start + take] for values in segment))
        return batches

    def _segment(self, name: str, count: int, start: int, length: int) -> DrawnSamples:
        """Return `length` elements of a region's stream from position `start`."""
        if not length:
            return DrawnSamples(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
        first, last = start // count, (start + length - 1) // count
        seeds = ([self._seed, region_key(name), number] for number in range(first, last + 1))
        order = np.concatenate([np.random.default_rng(seed).permutation(count) for seed in seeds]).astype(np.int64)
        number = np.repeat(np.arange(first, last + 1, dtype=np.int64), count)
        offset = start - first * count
        return DrawnSamples(order[offset : offset + length], number[offset : offset + length])


def region_key(name: str) -> int:
    """Return a number for a region's name, so that adding a region does not change the streams of others."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def region_shares(counts: Sequence[int], policy: str) -> NDArray[np.float64]:
    """Return each region's share of the drawn samples; shares sum to 1."""
    sizes = np.asarray(counts, dtype=np.float64)
    weights = {"balanced": np.ones_like(sizes), "sqrt": np.sqrt(sizes), "proportional": sizes}[policy]
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def allocate_samples(shares: NDArray[np.float64], batch_size: int, steps: int) -> NDArray[np.int64]:
    """Return (steps, regions) samples: rows sum to `batch_size`, no entry is 1, and shares hold over time.

    Each batch adds a region's share to its credit; a region with a credit below two samples waits for a later batch.
    """
    samples_per_batch = np.zeros((steps, len(shares)), dtype=np.int64)
    credit = np.zeros(len(shares))
    for step in range(steps):
        credit += shares * batch_size
        samples_per_batch[step] = _one_batch(credit, batch_size)
        credit -= samples_per_batch[step]
    return samples_per_batch


def _one_batch(credit: NDArray[np.float64], batch_size: int) -> NDArray[np.int64]:
    row = np.zeros(len(credit), dtype=np.int64)
    ranked = np.argsort(-credit, kind="stable")
    present = [index for index in ranked.tolist() if credit[index] >= _LEAST - 1e-9] or ranked.tolist()
    row[present[: batch_size // _LEAST]] = _LEAST
    chosen = np.flatnonzero(row)
    whole = np.floor(np.maximum(credit[chosen] - _LEAST, 0.0) + 1e-9).astype(np.int64)
    if whole.sum() <= batch_size - row.sum():  # usually: whole credits first, then by remainder
        row[chosen] += whole
    for _ in range(batch_size - int(row.sum())):
        row[chosen[np.argmax(credit[chosen] - row[chosen])]] += 1
    return row
