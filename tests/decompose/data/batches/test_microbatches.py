"""How a batch is cut: nothing lost, nothing alone, about equal."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.data.batches.microbatches import fewest_samples, smallest_microbatch, split_batch, split_counts
from lorkit.decompose.errors import UsageError


@given(st.lists(st.integers(2, 40), min_size=1, max_size=6), st.integers(1, 8))
def test_every_sample_is_dealt_once_and_no_region_stands_alone(counts: list[int], pieces: int) -> None:
    if sum(count // 2 for count in counts) < pieces:
        with pytest.raises(UsageError, match=r"train\.accumulate"):
            split_counts(counts, pieces)
        return
    shares = split_counts(counts, pieces)
    assert shares.sum(0).tolist() == counts
    assert not (shares == 1).any()
    assert shares.sum(1).min() >= 2
    if min(counts) >= 2 * pieces:
        assert shares.sum(1).max() - shares.sum(1).min() <= 2


def test_micro_batches_are_the_batch_in_other_order(make_batch: Callable[..., Batch]) -> None:
    batch = make_batch(5, 9)
    pieces = split_batch(batch, 3)
    assert [len(piece.label) for piece in pieces] == [5, 4, 5]
    assert sorted(torch.cat([piece.sample for piece in pieces]).tolist()) == list(range(14))
    for piece in pieces:
        assert torch.equal(piece.region, piece.region.sort().values)
        assert torch.equal(piece.image, batch.image[piece.sample])
    assert split_batch(batch, 1) == [batch]


def test_seats_that_cannot_be_cut_are_refused_before_training() -> None:
    assert smallest_microbatch(np.array([[4, 4], [8, 0]]), 4) == 2
    assert smallest_microbatch(np.array([[3, 3]]), 1) == 6
    with pytest.raises(UsageError, match=r"accumulate is 3 for a batch with 3, 3 samples.*raise train\.batch_size"):
        smallest_microbatch(np.array([[6, 0], [3, 3]]), 3)


def test_the_fewest_samples_of_a_region_are_found_in_micro_batches() -> None:
    assert fewest_samples(np.array([[12, 4], [16, 0]]), 1) == 4
    assert fewest_samples(np.array([[12, 4]]), 2) == 2
    assert fewest_samples(np.array([[16, 0], [9, 7]]), 4) == 2
    assert fewest_samples(np.array([[64, 64]]), 4) == 16
