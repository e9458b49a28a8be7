"""Against counts over all pairs of cases, without sorting."""

from __future__ import annotations

import numpy as np
import pytest
from counted_ranking import counted_precision, pair_auroc
from hypothesis import given, settings
from hypothesis import strategies as st

from lorkit.decompose.metrics.bootstrap import Resampling, resample
from lorkit.decompose.metrics.ranking import auroc, average_precision, placements

CASES = st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=14)


def once(count: int) -> Resampling:
    return Resampling(np.ones((1, count)), np.arange(count))


@given(CASES)
@settings(max_examples=200, deadline=None)
def test_areas_are_those_of_counted_pairs(cases: list[tuple[bool, int]]) -> None:
    positive, score = map(list, zip(*cases, strict=True))
    given_N, score_N = np.array(positive), np.array(score, dtype=float)
    found = auroc(given_N, score_N, once(len(cases)))[0]
    assert found == pytest.approx(pair_auroc(positive, score), nan_ok=True)
    precision = average_precision(given_N, score_N, once(len(cases)))[0]
    assert precision == pytest.approx(counted_precision(positive, score), nan_ok=True)


@given(CASES)
@settings(max_examples=100, deadline=None)
def test_both_kinds_of_placements_average_to_the_area(cases: list[tuple[bool, int]]) -> None:
    positive, score = map(list, zip(*cases, strict=True))
    value_N = placements(np.array(positive), np.array(score, dtype=float))
    if len(set(positive)) == 1:
        assert np.isnan(value_N).all()
        return
    for kind in (True, False):
        assert value_N[np.array(positive) == kind].mean() == pytest.approx(pair_auroc(positive, score))


def test_a_replicate_is_the_measure_of_the_drawn_groups() -> None:
    rng = np.random.default_rng(0)
    positive, score, groups = rng.random(12) < 0.5, rng.integers(0, 5, 12).astype(float), np.arange(12) // 2
    draws = resample(groups, seed=1, replicates=20)
    for measure, counted in ((auroc, pair_auroc), (average_precision, counted_precision)):
        found_R = measure(positive, score, draws)
        for counts_G, found in zip(draws.counts_RG, found_R, strict=True):
            chosen = np.repeat(np.arange(12), counts_G[groups].astype(int))
            wanted = counted(positive[chosen].tolist(), score[chosen].tolist())
            assert found == pytest.approx(wanted, nan_ok=True)
