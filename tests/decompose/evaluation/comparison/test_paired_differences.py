"""Intervals over cases and seeds against a loop over replicates, and what they have to cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.documents.compare import RegionDrop
from lorkit.decompose.evaluation.comparison import paired_differences
from lorkit.decompose.evaluation.comparison.paired_differences import PairedDifferences
from lorkit.decompose.metrics.bootstrap import resample
from lorkit.decompose.metrics.paired import paired_difference
from lorkit.decompose.regions import Region

Floats = NDArray[np.float64]


def region(name: str, labels: NDArray[np.int64], per_group: int = 2) -> PreparedRegion:
    count = len(labels)
    classes = tuple(str(index) for index in range(int(labels.max()) + 1))
    names = tuple(str(index) for index in range(count))
    return PreparedRegion(
        region=Region(name=name, classes=classes),
        recipe=[],
        stored=np.zeros((count, 1, 1, 1), np.float32),
        labels=labels,
        groups=tuple(f"g{index // per_group}" for index in range(count)),
        ids=names,
        digests=names,
    )


def case(seeds: int, count: int = 60, seed: int = 0) -> tuple[dict[str, PreparedRegion], dict[str, Floats]]:
    rng = np.random.default_rng(seed)
    judged = {name: region(name, rng.integers(0, k, count)) for name, k in (("a", 2), ("b", 3))}
    return judged, {name: (rng.random((seeds, count)) < 0.7).astype(np.float64) for name in judged}


def cases(judged: dict[str, PreparedRegion], hits: dict[str, Floats]) -> dict[str, Floats]:
    """Hits in the column of each case's own class, as the task gives them."""
    own = {name: one.labels[:, None] == np.arange(len(one.region.classes)) for name, one in judged.items()}
    return {name: np.where(own[name], value[:, :, None], np.nan) for name, value in hits.items()}


@pytest.mark.parametrize("seeds", [1, 3])
def test_replicates_are_those_of_a_loop(seeds: int) -> None:
    judged, hits = case(seeds)
    rates = PairedDifferences(judged).rates(cases(judged, hits))
    drawn = np.random.default_rng(seeds).integers(0, seeds, size=(paired_differences.REPLICATES, seeds))
    for index, (name, one) in enumerate(judged.items()):
        counts = resample(np.asarray(one.groups), seed=index, replicates=paired_differences.REPLICATES)
        for replicate in (0, 5, 77):
            weight_N = counts.counts_RG[replicate][counts.group_N]
            recalls = []
            for label in np.unique(one.labels):
                of = one.labels == label
                by_seed = np.array([(weight_N * row)[of].sum() / weight_N[of].sum() for row in hits[name]])
                chosen = by_seed[drawn[replicate]].mean() if seeds > 1 else by_seed[0]
                stretch = math.sqrt(seeds / (seeds - 1)) if seeds > 1 else 1.0
                recalls.append(by_seed.mean() + stretch * (chosen - by_seed.mean()))
            assert rates[name].replicates_R[replicate] == pytest.approx(np.mean(recalls))
        expected = np.mean([hits[name][:, one.labels == label].mean() for label in np.unique(one.labels)])
        assert rates[name].point == pytest.approx(expected)


def test_one_seed_is_the_paired_difference() -> None:
    judged, one = case(1)
    _, two = case(1, seed=4)
    found = PairedDifferences(judged).pair(cases(judged, one), cases(judged, two))
    for index, (name, prepared) in enumerate(judged.items()):
        expected = paired_difference(prepared.labels, one[name][0], two[name][0], prepared.groups, seed=index)
        same = RegionDrop.model_fields.keys() - {"ci", "decidable"}
        assert {key: getattr(found.regions[name], key) for key in same} == {
            key: pytest.approx(getattr(expected, key)) for key in same
        }


def test_the_spread_of_seeds_widens_the_interval() -> None:
    judged, _ = case(1)
    labels = {name: one.labels for name, one in judged.items()}
    always = {name: np.ones((4, len(label))) for name, label in labels.items()}
    # half of the trainings fail on every case: no resampling of cases alone would see it
    luck = {name: np.repeat([[1.0], [1.0], [0.0], [0.0]], len(label), axis=1) for name, label in labels.items()}
    found = PairedDifferences(judged).pair(cases(judged, always), cases(judged, luck))
    assert found.mean.drop == pytest.approx(0.5)
    assert found.mean.ci[0] <= 0.05
    assert (found.wins, found.losses) == (0, 0)
    sides = {n: v[:1] for n, v in always.items()}, {n: v.mean(0)[None] for n, v in luck.items()}
    alone = PairedDifferences(judged).pair(*(cases(judged, side) for side in sides))
    assert alone.mean.ci[0] > 0.3


def test_equal_arms_decide_nothing_and_clear_ones_win() -> None:
    judged, hits = case(3, count=120)
    same = PairedDifferences(judged).pair(cases(judged, hits), cases(judged, hits))
    assert same.mean.drop == 0
    assert same.mean.ci[0] < 0 < same.mean.ci[1], "a difference that no case showed may still be there"
    right = {name: np.ones_like(value) for name, value in hits.items()}
    won = PairedDifferences(judged).pair(cases(judged, hits), cases(judged, right))
    assert (won.wins, won.losses) == (2, 0)
    lost = PairedDifferences(judged).pair(cases(judged, right), cases(judged, hits))
    assert (lost.wins, lost.losses) == (0, 2)
    assert lost.mean.drop == pytest.approx(-won.mean.drop)


def test_a_model_without_seeds_stands_beside_one_with() -> None:
    judged, hits = case(3)
    foundation = {name: value[:1] for name, value in hits.items()}
    found = PairedDifferences(judged).pair(cases(judged, foundation), cases(judged, hits))
    assert found.regions["a"].mcnemar_p is None


def test_the_variance_over_seeds_is_unbiased() -> None:
    """Stretched weights have the variance s^2 / S that independent trainings give, not (S - 1) / S of it."""
    for seeds in (2, 3, 5):
        values = np.random.default_rng(seeds).normal(size=seeds)
        weights = paired_differences._seed_weights(seeds)
        assert weights.sum(1) == pytest.approx(np.ones(len(weights)))
        assert (weights @ values).var() == pytest.approx(values.var(ddof=1) / seeds, rel=0.08)
