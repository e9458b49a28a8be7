"""A batch of rows is counted as if its rows came one by one, to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lorkit.export.serving.arrivals import arrive

KEY = st.sampled_from(["a", "b", "c", None])
ROW = st.tuples(st.tuples(KEY, KEY), st.floats(-(2.0**90), 2.0**90, width=32))


class Kept:
    """Sums by place, two classes and one feature; others are drawn from the place."""

    def __init__(self) -> None:
        self.sums: dict[Any, Any] = {}

    def counters(self, places: Any) -> Any:
        """Return (P, 3, 2)."""
        assert len(set(places)) == len(places)
        drawn = [np.random.default_rng(place[0] * 999 + ord(place[1])).normal(size=(3, 2)) for place in places]
        return np.array([self.sums.get(place, one) for place, one in zip(places, drawn, strict=True)]).reshape(-1, 3, 2)


@settings(max_examples=100, deadline=None)
@given(drawn=st.lists(ROW, min_size=1, max_size=20))
def test_a_batch_is_counted_as_its_rows_one_by_one(drawn: list[Any]) -> None:
    values = np.array([[row[1]] for row in drawn], dtype=np.float32)
    before, places, sums = arrive(Kept(), [row[0] for row in drawn], values)  # type: ignore[arg-type]
    kept = Kept()
    for at, (keys, value) in enumerate(drawn):
        for relation, key in enumerate(keys):
            if key is None:
                assert not before[at, relation].any()
                continue
            (found,) = kept.counters([(relation, key)])
            np.testing.assert_array_equal(before[at, relation], found)
            found[-1] += [value, 1]
            kept.sums[relation, key] = found
    assert set(places) == set(kept.sums)
    for place, found in zip(places, sums, strict=True):
        np.testing.assert_array_equal(found, kept.sums[place])


def test_rows_without_keys_are_counted_nowhere() -> None:
    before, places, sums = arrive(Kept(), [(None, None)] * 3, np.ones((3, 1), dtype=np.float32))  # type: ignore[arg-type]
    assert before.shape == (3, 2, 3, 2)
    assert not before.any()
    assert (places, len(sums)) == ([], 0)
