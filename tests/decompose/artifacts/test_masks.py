"""Masks of both kinds against sets of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorkit.decompose.artifacts.arrays import IGNORED, IGNORED_BIT
from lorkit.decompose.artifacts.masks import (
    as_overlapping,
    counted,
    join_structures,
    largest_structure,
    may_overlap,
    of_structure,
    pixel_counts,
)


@given(st.integers(1, 31), st.integers(0, 2**31))
def test_bits_are_the_sets_they_were_joined_from(structures: int, seed: int) -> None:
    there = np.random.default_rng(seed).random((structures, 3, 4)) < 0.4
    mask = join_structures(there)
    assert mask.dtype == np.uint32
    assert may_overlap(mask)
    for index in range(structures):
        np.testing.assert_array_equal(of_structure(mask, index + 1), there[index])
    np.testing.assert_array_equal(pixel_counts(mask, structures), there.sum((1, 2)))
    assert largest_structure(mask) == max([index + 1 for index in range(structures) if there[index].any()], default=0)
    assert counted(mask).all()


@given(st.integers(1, 31), st.integers(0, 2**31))
def test_both_kinds_say_the_same_of_structures_that_do_not_overlap(structures: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.where(rng.random((4, 5)) < 0.2, IGNORED, rng.integers(0, structures + 1, (4, 5))).astype(np.uint8)
    bits = as_overlapping(mask)
    np.testing.assert_array_equal(counted(mask), counted(bits))
    np.testing.assert_array_equal(pixel_counts(mask, structures), pixel_counts(bits, structures))
    assert largest_structure(mask) == largest_structure(bits)
    for structure in range(1, structures + 1):
        np.testing.assert_array_equal(of_structure(mask, structure), of_structure(bits, structure))


@pytest.mark.parametrize("structure", [1, 31])
def test_ignored_pixels_have_no_structure(structure: int) -> None:
    mask = np.array([IGNORED_BIT | 1 << (structure - 1), 1 << (structure - 1), 0], dtype=np.uint32)
    assert of_structure(mask, structure).tolist() == [False, True, False]
    assert counted(mask).tolist() == [False, True, True]
    assert pixel_counts(mask, 31)[structure - 1] == 1
