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
    """Samples of one region in one batch: indices, and the pass of the stream that each belongs to.

    Indices from the number of labelled samples on are those of its unlabelled ones.
    """

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
        unlabelled: Number of samples without a label, of the regions that have some.
        share: Part of such a region's samples in a batch that are unlabelled; one or more of a batch are labelled.
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
        unlabelled: Mapping[str, int] | None = None,
        share: float = 0.0,
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
        self.unlabelled = {name: count for name, count in (unlabelled or {}).items() if count and share > 0}
        self._seed, self._rank, self._world = seed, rank, world_size
        self.steps = max(1, least_steps, round(sum(counts.values()) / (batch_size * world_size)))
        self.samples_per_batch = allocate_samples(region_shares(list(counts.values()), policy), batch_size, self.steps)
        self._share = share

    def notices(self) -> list[str]:
        """Return a sentence if a batch has more samples of a region than there are, so that it repeats some."""
        found = []
        for column, (name, count) in enumerate(self.counts.items()):
            takes = self.samples_per_batch[:, column]
            without = unlabelled_samples(takes, self._share) if name in self.unlabelled else np.zeros_like(takes)
            if (most := int((takes - without).max())) > count:
                found.append(f"{most} of '{name}' from {count}, each up to {-(-most // count)} times")
        if not found:
            return []
        size = self.samples_per_batch[0].sum()
        return [f"train.batch_size {size}: a batch takes {'; '.join(found)}; a smaller train.batch_size repeats fewer"]

    def epoch(self, epoch: int) -> list[dict[str, DrawnSamples]]:
        """Return the batches of an epoch for this rank: regions in routing order, absent ones omitted."""
        batches: list[dict[str, DrawnSamples]] = [{} for _ in range(self.steps)]
        for column, (name, count) in enumerate(self.counts.items()):
            takes, others = self.samples_per_batch[:, column], self.unlabelled.get(name, 0)
            without = unlabelled_samples(takes, self._share) if others else np.zeros_like(takes)
            labelled = self._stream(name, count, takes - without, epoch)
            unlabelled = self._stream(f"{name}\0unlabelled", others, without, epoch)
            for step in np.flatnonzero(takes).tolist():
                batches[step][name] = _mixed(labelled[step], unlabelled[step], count)
        return batches

    def _stream(self, name: str, count: int, takes: NDArray[np.int64], epoch: int) -> list[DrawnSamples]:
        """Return the samples of a stream in each batch of an epoch, for this rank."""
        drawn = int(takes.sum()) * self._world
        segment = self._segment(name, count, epoch * drawn, drawn)
        starts = np.cumsum(takes) * self._world - takes * (self._world - self._rank)
        return [
            DrawnSamples(*(values[start : start + take] for values in segment))
            for start, take in zip(starts.tolist(), takes.tolist(), strict=True)
        ]

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


def unlabelled_samples(takes: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """Return how many of a region's samples in each batch are unlabelled; at least one is labelled.

    Fractions of a sample are carried over to later batches, so that the share holds over time.
    """
    found = np.zeros_like(takes)
    credit = 0.0
    for step in np.flatnonzero(takes).tolist():
        credit += share * float(takes[step])
        found[step] = min(int(credit + 1e-9), int(takes[step]) - 1)
        credit -= found[step]
    return found


def _mixed(labelled: DrawnSamples, unlabelled: DrawnSamples, count: int) -> DrawnSamples:
    """Spread unlabelled samples evenly between labelled ones, so that every micro-batch has its share of both."""
    if not len(unlabelled.indices):
        return labelled
    places = [(np.arange(len(one.indices)) + 0.5) / len(one.indices) for one in (labelled, unlabelled)]
    order = np.argsort(np.concatenate(places), kind="stable")
    return DrawnSamples(
        np.concatenate([labelled.indices, unlabelled.indices + count])[order],
        np.concatenate([labelled.passes, unlabelled.passes])[order],
    )


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
