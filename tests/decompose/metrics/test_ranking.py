"""Against counts over all pairs of cases, without sorting."""

from __future__ import annotations

import numpy as np
import pytest
from counted_ranking import counted_precision, pair_auroc
from hypothesis import given, settings
from hypothesis import strategies as st

from lorkit.decompose.metrics.bootstrap import Resampling, resample
from lorkit.decompose.metrics.ranking import auroc, average_precision, placements, recall_at

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


def test_a_share_is_of_the_cases_of_each_replicate() -> None:
    rng = np.random.default_rng(0)
    positive_N, score_N = rng.random(60) < 0.3, rng.normal(size=60)
    group_N = np.sort(rng.integers(0, 7, 60))  # of unequal size, so replicates have different numbers of cases
    draws = resample(group_N, seed=0, replicates=20)
    for looked_at in (0.2, 9, None):
        found_R = recall_at(positive_N, score_N, draws, looked_at)
        for counts_G, found in zip(draws.counts_RG, found_R, strict=True):
            copies = np.repeat(np.arange(60), counts_G[draws.group_N].astype(int))
            left = {0.2: 0.2 * len(copies), 9: 9.0, None: float(positive_N[copies].sum())}[looked_at]
            hits = 0.0
            for score in sorted(set(score_N[copies]), reverse=True):  # copies of a case share the places that are left
                level = copies[score_N[copies] == score]
                taken = min(left, len(level))
                hits, left = hits + positive_N[level].mean() * taken, left - taken
            assert found == pytest.approx(hits / positive_N[copies].sum())
