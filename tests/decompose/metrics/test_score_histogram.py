from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorkit.decompose.metrics.score_histogram import BINS, REACH, score_histogram


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(-30, 30)), min_size=1, max_size=60))
def test_every_case_is_in_the_bin_of_its_probability(cases: list[tuple[bool, float]]) -> None:
    found = score_histogram(np.array([own for own, _ in cases]), np.array([margin for _, margin in cases]))
    edges = [math.log(edge / (1 - edge)) for edge in found["edges"]]
    assert len(edges) == BINS + 1
    assert np.ptp(np.diff(edges)) < 1e-6  # equally wide in log-odds
    for kind, counts in ((True, found["positive"]), (False, found["negative"])):
        assert sum(counts) == sum(own is kind for own, _ in cases)
        for at, count in enumerate(counts):
            within = [
                margin
                for own, margin in cases
                if own is kind and edges[at] + 1e-6 < min(max(margin, -REACH), REACH) < edges[at + 1] - 1e-6
            ]
            assert count >= len(within)


def test_equal_scores_have_a_bin_of_some_width() -> None:
    found = score_histogram(np.array([True, False]), np.zeros(2))
    assert (found["edges"][0], found["edges"][-1]) == pytest.approx((1 / (1 + math.exp(0.5)), 1 / (1 + math.exp(-0.5))))
    assert (sum(found["positive"]), sum(found["negative"])) == (1, 1)
    assert found["positive"] == found["negative"]


def test_cases_beyond_the_reach_are_in_the_last_bins() -> None:
    found = score_histogram(np.array([True, False, False]), np.array([50.0, -50.0, 0.0]))
    assert (found["positive"][-1], found["negative"][0]) == (1, 1)
    assert found["edges"][0] == pytest.approx(1 / (1 + math.exp(REACH)))
