"""Counter-based random numbers: known values, independence of the batch, and even spread."""

from __future__ import annotations

import numpy as np

from lorkit.decompose.data.random_numbers import keys, mix, uniform


def reference(word: int) -> int:
    """splitmix64's finaliser in Python integers."""
    mask = 2**64 - 1
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & mask
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
    return word ^ (word >> 31)


def test_mix_equals_the_reference() -> None:
    words = [0, 1, 2**63, 2**64 - 1, 0x9E3779B97F4A7C15]
    assert mix(np.array(words, dtype=np.uint64)).tolist() == [reference(word) for word in words]
    # First output of splitmix64 seeded with 0, as published with the generator.
    assert reference(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF


def test_keys_do_not_depend_on_the_neighbours() -> None:
    whole = keys(3, 5, np.arange(10))
    np.testing.assert_array_equal(keys(3, 5, np.array([7, 2])), whole[[7, 2]])
    assert len({*whole.tolist(), *keys(5, 3, np.arange(10)).tolist()}) == 20


def test_uniform_is_even_and_uncorrelated_between_draws() -> None:
    key = keys(0, np.arange(20_000))
    one, two = uniform(key, 0), uniform(key, 1)
    assert one.dtype == np.float32
    assert one.min() >= 0
    assert one.max() < 1
    counts = np.histogram(one, bins=10, range=(0, 1))[0]
    assert ((counts - 2000) ** 2 / 2000).sum() < 30  # chi-squared with 9 degrees of freedom: p about 0.0004
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.03
    assert np.abs(uniform(key, 0, -2, 4) - (one * 6 - 2)).max() < 1e-6
