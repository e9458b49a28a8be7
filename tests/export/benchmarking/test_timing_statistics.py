import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lorkit.export.benchmarking.timing_statistics import (
    ALPHA,
    FIRST_LOOK,
    InterimLooks,
    block_length,
    block_medians,
    fastest_of_neighbours,
    median_interval,
    paired_ratio,
    percentile,
    percentile_bound,
    samples_for,
)

Floats = NDArray[np.float64]


def noise(generator: np.random.Generator, shape: tuple[int, int], correlation: float = 0.6) -> Floats:
    """Autocorrelated, heavy-tailed log-times: what a shared machine gives."""
    shock = generator.standard_t(3, size=shape) * 0.05
    out = np.empty(shape)
    out[:, 0] = shock[:, 0]
    for index in range(1, shape[1]):
        out[:, index] = correlation * out[:, index - 1] + shock[:, index]
    return out


def test_the_ratio_of_exact_pairs() -> None:
    baseline = np.linspace(1.0, 5.0, 50)
    found = paired_ratio(baseline, 1.5 * baseline)
    assert found.ratio == pytest.approx(1.5)
    assert found.ci == pytest.approx((1.5, 1.5))
    assert found.pairs == 50
    assert paired_ratio(baseline, baseline).deviation == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("a", "b"), [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, 0.0], [1.0, 1.0])])
def test_bad_pairs_are_refused(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match=r"pairs|above 0"):
        paired_ratio(a, b)


@given(st.integers(2, 200), st.integers(0, 50))
def test_swapping_the_arms_inverts_the_ratio(pairs: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    a, b = np.exp(generator.normal(size=(2, pairs)))
    forth, back = paired_ratio(a, b, replicates=50), paired_ratio(b, a, replicates=50)
    assert forth.ratio == pytest.approx(1 / back.ratio)
    assert forth.ci[0] <= forth.ratio <= forth.ci[1]


def test_a_drift_that_hits_both_arms_cancels() -> None:
    drift = np.exp(np.linspace(0, 2, 200))
    found = paired_ratio(drift, drift * 1.1)
    assert found.ci == pytest.approx((1.1, 1.1))


def test_blocks_are_neighbours() -> None:
    values = np.arange(100, dtype=np.float64)
    medians = block_medians(values, 100, seed=0, replicates=5)
    np.testing.assert_array_equal(medians, np.full(5, np.median(values)))
    assert block_length(5) == 5
    assert block_length(40) == 10
    assert block_length(8000) == 60


def test_the_replicates_do_not_depend_on_the_chunking(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=60)
    whole = block_medians(values, 10, seed=3, replicates=40)
    monkeypatch.setattr("lorkit.export.benchmarking.timing_statistics._CHUNK", 60 * 7)
    np.testing.assert_array_equal(whole, block_medians(values, 10, seed=3, replicates=40))


@pytest.mark.parametrize("pairs", [40, 160])
def test_intervals_cover_under_autocorrelated_heavy_tails(pairs: int) -> None:
    values = noise(np.random.default_rng(1), (300, pairs))
    intervals = [median_interval(row, level=0.95, seed=index, replicates=300) for index, row in enumerate(values)]
    covered = np.mean([low <= 0 <= high for low, high in intervals])
    assert covered >= 0.91


def sequential(log_P: Floats, margin: float, seed: int) -> tuple[str, int]:
    """The gate's rule on recorded log-ratios."""
    looks = InterimLooks.within(len(log_P))
    for index, pairs in enumerate(looks.pairs):
        low, high = median_interval(log_P[:pairs], level=looks.level(index), seed=seed, replicates=300)
        if low > np.log1p(margin):
            return "fail", pairs
        if high < np.log1p(margin):
            return "pass", pairs
    return "inconclusive", looks.pairs[-1]


def test_identical_arms_are_not_failed_and_a_slow_one_is_not_passed() -> None:
    generator = np.random.default_rng(2)
    same = [sequential(row, 0.03, index)[0] for index, row in enumerate(noise(generator, (150, 640)))]
    slow = [sequential(row + np.log(1.2), 0.03, index)[0] for index, row in enumerate(noise(generator, (150, 640)))]
    edge = [sequential(row + np.log(1.03), 0.03, index)[0] for index, row in enumerate(noise(generator, (150, 640)))]
    assert same.count("fail") == 0
    assert slow.count("pass") == 0
    assert slow.count("fail") >= 147
    assert edge.count("fail") + edge.count("pass") <= 15  # 5 % of 150, plus what chance allows


def test_a_candidate_twice_as_fast_is_decided_at_the_first_look() -> None:
    rows = noise(np.random.default_rng(3), (50, 640)) + np.log(0.5)
    assert {sequential(row, 0.03, index) for index, row in enumerate(rows)} == {("pass", FIRST_LOOK)}


@given(st.integers(1, 100_000))
def test_the_looks_together_spend_no_more_than_alpha(affordable: int) -> None:
    looks = InterimLooks.within(affordable)
    errors = [1 - looks.level(index) for index in range(len(looks.pairs))]
    assert sum(errors) <= ALPHA + 1e-12
    assert errors == sorted(errors)
    assert 1 - looks.level(0, last=True) == pytest.approx(ALPHA / 2)


def test_percentiles_need_samples() -> None:
    assert [samples_for(q) for q in (0.9, 0.95, 0.99)] == [29, 59, 299]
    assert percentile(np.arange(298.0), 0.99) is None
    assert percentile(np.arange(299.0), 0.99) == pytest.approx(295.02)
    assert percentile_bound(np.arange(58.0), 0.95) is None
    assert percentile_bound(np.arange(59.0), 0.95) == 58.0


def test_the_percentile_bound_holds_in_95_of_100() -> None:
    samples = np.random.default_rng(4).exponential(size=(2000, 120))
    bounds = np.array([percentile_bound(row, 0.9) for row in samples])
    assert (bounds >= np.log(10)).mean() >= 0.94


def test_folding_keeps_the_fastest_of_neighbours() -> None:
    times = np.array([[3.0, 1.0], [2.0, 5.0], [9.0, 9.0], [8.0, 7.0], [0.1, 0.1]])
    assert fastest_of_neighbours(times, 2).tolist() == [[2.0, 1.0], [8.0, 7.0]]
    assert fastest_of_neighbours(times, 1).tolist() == times.tolist()
    assert fastest_of_neighbours(times[:1], 2).shape == (0, 2)


def test_a_candidate_against_two_baselines_is_the_mean_of_both_medians() -> None:
    generator = np.random.default_rng(0)
    baselines, candidate = generator.lognormal(size=(301, 2)), generator.lognormal(size=301)
    found = paired_ratio(baselines, candidate)
    medians = [np.median(np.log(candidate / baselines[:, column])) for column in range(2)]
    assert found.ratio == pytest.approx(np.exp(np.mean(medians)))
    assert found.ci[0] < found.ratio < found.ci[1]
    twice = paired_ratio(baselines[:, [0, 0]], candidate)
    once = paired_ratio(baselines[:, 0], candidate)
    assert twice.ci == pytest.approx(once.ci)
    with pytest.raises(ValueError, match="equally many"):
        paired_ratio(baselines[:300], candidate)
