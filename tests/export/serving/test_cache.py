"""Sums in memory are those of the store, and no more than stated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from streams import CLASSES, node_input

from lorkit.export.serving.cache import BYTES, PLACES, CounterCache
from lorkit.export.serving.counters import Layout, Place

LAYOUT = Layout.of(node_input(), CLASSES)


class Store:
    """Sums by place, and what was asked for."""

    def __init__(self) -> None:
        self.sums: dict[Place, Any] = {}
        self.asked: list[Place] = []

    def read(self, places: Sequence[Place]) -> Any:
        """Return (P, 3, 3)."""
        self.asked += places
        return np.array([self.sums.get(place, np.zeros(LAYOUT.shape)) for place in places])


def test_the_cache_answers_as_the_store_whatever_its_size() -> None:
    random = np.random.default_rng(0)
    for most in (1, 7, 30, 100):
        store, cache = Store(), CounterCache(LAYOUT, places=most)
        for _ in range(200):
            keys = random.choice(40, size=int(random.integers(1, 12)), replace=False)
            places = [(int(key) % 2, f"k{key}") for key in keys]
            found = cache.read(places, store.read)
            np.testing.assert_array_equal(found, Store.read(store, places))
            found += random.normal(size=found.shape)
            store.sums.update(zip(places, found.copy(), strict=True))
            cache.write(places, found)
            found[:] = np.nan  # what it returned is not what it keeps
            assert len(cache) <= most


def test_a_known_place_is_not_read_again_until_all_is_forgotten() -> None:
    store, cache = Store(), CounterCache(LAYOUT)
    a, b, c = (0, "a"), (1, "a"), (0, "b")
    cache.read([a, b], store.read)
    cache.read([b, c], store.read)
    assert store.asked == [a, b, c]
    cache.clear()
    cache.read([a], store.read)
    assert store.asked == [a, b, c, a]


def test_a_place_that_could_not_be_read_is_not_kept() -> None:
    cache = CounterCache(LAYOUT)

    def fail(places: Sequence[Place]) -> Any:
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - raised above
        cache.read([(0, "a")], fail)
    assert not len(cache)


@pytest.mark.parametrize(("features", "most"), [(2, PLACES), (299, BYTES // (3 * 300 * 8))])
def test_its_bounds_are_the_stated_ones(features: int, most: int) -> None:
    names = tuple(f"f{at}" for at in range(features))
    layout = Layout.of(node_input(features=names, mean=(0.0,) * features, std=(1.0,) * features), CLASSES)
    cache = CounterCache(layout)
    assert cache._sums.nbytes <= BYTES
    assert len(cache._sums) == most
