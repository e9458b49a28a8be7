"""Gradient accumulation: one batch split into micro-batches whose losses sum to its own.

Every loss is a sum over samples divided by the batch size. So micro-batches weighted by their share of the samples give
the loss and the gradients of the whole batch, unless batch statistics are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

import numpy as np
import torch
from numpy.typing import NDArray

from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.errors import UsageError

_LEAST = 2  # batch statistics of a region need two samples


def split_batch(batch: Batch, pieces: int) -> list[Batch]:
    """Split a region-sorted batch of N samples into `pieces` region-sorted micro-batches of about equal size.

    The n samples of a region go into min(pieces, n // 2) of them, so each has none or at least two of a region.

    Raises:
        UsageError: There are too few samples for this.
    """
    if pieces == 1:
        return [batch]
    regions, counts = torch.unique_consecutive(batch.region, return_counts=True)
    shares = split_counts(counts.tolist(), pieces)
    starts = np.cumsum([0, *counts.tolist()])[:-1]
    rows: list[list[int]] = [[] for _ in range(pieces)]
    for column in range(len(regions)):
        start = int(starts[column])
        for piece in range(pieces):
            take = int(shares[piece, column])
            rows[piece] += range(start, start + take)
            start += take
    return [batch.mapped(itemgetter(torch.tensor(chosen))) for chosen in rows]


def split_counts(counts: Sequence[int], pieces: int) -> NDArray[np.int64]:
    """Return (pieces, regions) samples of each region in every micro-batch: none, or at least two.

    Raises:
        UsageError: A micro-batch would be empty.
    """
    shares = np.zeros((pieces, len(counts)), dtype=np.int64)
    for column, count in enumerate(counts):
        parts = min(pieces, count // _LEAST) or min(count, 1)
        if parts:
            emptiest = np.argsort(shares.sum(1), kind="stable")[:parts]
            shares[emptiest, column] = min(count, _LEAST)
            for _ in range(count - parts * _LEAST):
                shares[emptiest[np.argmin(shares[emptiest].sum(1))], column] += 1
    if not shares.sum(1).all():
        raise UsageError(
            f"train.accumulate is {pieces} for a batch with {', '.join(map(str, counts))} samples of its regions",
            required=f"{_LEAST} samples of a region in every micro-batch",
            fix="lower train.accumulate or raise train.batch_size",
        )
    return shares


def smallest_microbatch(samples_per_batch: NDArray[np.int64], pieces: int) -> int:
    """Return the size of the smallest micro-batch for (steps, regions) samples per batch.

    Raises:
        UsageError: A batch cannot be split.
    """
    rows = [[int(count) for count in row if count] for row in np.unique(samples_per_batch, axis=0)]
    return min(int(split_counts(row, pieces).sum(1).min()) if pieces > 1 else sum(row) for row in rows)


def fewest_samples(samples_per_batch: NDArray[np.int64], pieces: int) -> int:
    """Return the fewest samples of a region in a micro-batch that has any, for (steps, regions) samples per batch.

    Raises:
        UsageError: A batch cannot be split.
    """
    rows = [[int(count) for count in row if count] for row in np.unique(samples_per_batch, axis=0)]
    shares = [split_counts(row, pieces) for row in rows]
    return min(int(share[share > 0].min()) for share in shares)
