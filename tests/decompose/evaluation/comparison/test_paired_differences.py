"""Intervals over cases and seeds against other formulas, and what they have to cover."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import t as student
from scipy.stats import ttest_1samp
from sklearn.metrics import average_precision_score

from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.documents.compare import RegionDrop
from lorkit.decompose.evaluation.comparison.paired_differences import PairedDifferences
from lorkit.decompose.metrics.paired import paired_difference, unseen_bound
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks import get_task

Floats = NDArray[np.float64]


def region(name: str, labels: NDArray[np.int64], per_group: int = 2) -> PreparedRegion:
    count = len(labels)
    classes = tuple(str(index) for index in range(max(2, int(labels.max()) + 1)))
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
def test_values_are_how_much_the_rate_changes_with_the_weight_of_a_patient_and_seed(seeds: int) -> None:
    judged, hits = case(seeds)
    rates = PairedDifferences(judged).rates(cases(judged, hits))

    def rate(name: str, weight_SN: Floats) -> float:
        labels = judged[name].labels
        return float(
            np.mean([np.average(hits[name][:, labels == k], weights=weight_SN[:, labels == k]) for k in set(labels)])
        )

    for name, one in judged.items():
        assert rates[name].point == pytest.approx(rate(name, np.ones_like(hits[name])))
        assert rates[name].values_SG.mean() == pytest.approx(rates[name].point)
        names = np.unique(one.groups)
        for seed, group in ((0, 0), (seeds - 1, 7)):
            weights = np.ones_like(hits[name])
            weights[seed, np.asarray(one.groups) == names[group]] += 1e-6
            change = (rate(name, weights) - rates[name].point) / 1e-6
            expected = rates[name].point + change * seeds * len(names)
            assert rates[name].values_SG[seed, group] == pytest.approx(expected, abs=1e-4)


def test_one_class_and_one_seed_have_the_interval_of_student() -> None:
    judged = {"a": region("a", np.zeros(80, dtype=np.int64))}
    one, two = ({"a": (np.random.default_rng(seed).random((1, 80)) < 0.7).astype(np.float64)} for seed in (0, 1))
    found = PairedDifferences(judged).pair(cases(judged, one), cases(judged, two))
    by_patient = (one["a"] - two["a"]).reshape(40, 2).mean(1)
    assert found.regions["a"].ci == pytest.approx(tuple(ttest_1samp(by_patient, 0).confidence_interval()))
    assert found.mean_drop.ci == found.regions["a"].ci


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
    assert found.mean_drop.drop == pytest.approx(0.5)
    assert found.mean_drop.ci[0] <= 0.05
    assert (found.wins, found.losses) == (0, 0)
    sides = {n: v[:1] for n, v in always.items()}, {n: v.mean(0)[None] for n, v in luck.items()}
    alone = PairedDifferences(judged).pair(*(cases(judged, side) for side in sides))
    assert alone.mean_drop.ci[0] > 0.3


def test_equal_arms_decide_nothing_and_clear_ones_win() -> None:
    judged, hits = case(3, count=120)
    same = PairedDifferences(judged).pair(cases(judged, hits), cases(judged, hits))
    assert same.mean_drop.drop == 0
    assert same.mean_drop.ci[0] < 0 < same.mean_drop.ci[1], "a difference that no case showed may still be there"
    right = {name: np.ones_like(value) for name, value in hits.items()}
    won = PairedDifferences(judged).pair(cases(judged, hits), cases(judged, right))
    assert (won.wins, won.losses) == (2, 0)
    lost = PairedDifferences(judged).pair(cases(judged, right), cases(judged, hits))
    assert (lost.wins, lost.losses) == (0, 2)
    assert lost.mean_drop.drop == pytest.approx(-won.mean_drop.drop)


def test_a_model_without_seeds_stands_beside_one_with() -> None:
    judged, hits = case(3)
    foundation = {name: value[:1] for name, value in hits.items()}
    found = PairedDifferences(judged).pair(cases(judged, foundation), cases(judged, hits))
    assert found.regions["a"].mcnemar_p is None


def test_all_right_answers_reach_what_no_patient_showed() -> None:
    judged, hits = case(3)
    differences = PairedDifferences(judged)
    rates = differences.rates(cases(judged, {name: np.ones_like(value) for name, value in hits.items()}))
    value, (low, high) = differences.mean(rates)
    bounds = [
        unseen_bound(one.labels[:, None] == np.arange(len(one.region.classes)), one.groups) for one in judged.values()
    ]
    assert (value, high) == (1.0, 1.0)
    assert low == pytest.approx(1 - np.hypot(*bounds) / 2)


@pytest.mark.parametrize(("rare", "common"), [(0, 0), (0, 60), (9, 60), (12, 9), (10, 10), (12, 60)])
def test_hits_have_a_minimum_width_until_enough_patients_of_every_class_differ(rare: int, common: int) -> None:
    """Patients have one class and ten cases, of which one differs in some patients, so the shown variance is small."""
    labels = np.repeat((np.arange(80) >= 15).astype(np.int64), 10)
    judged = {"a": region("a", labels, per_group=10)}
    one = np.ones((1, 800))
    two = one.copy()
    two[0, [*range(0, 10 * rare, 10), *range(150, 150 + 10 * common, 10)]] = 0.0
    found = PairedDifferences(judged).pair(*(cases(judged, {"a": hits}) for hits in (one, two)))
    bound = unseen_bound(labels[:, None] == np.arange(2), judged["a"].groups)
    assert (found.mean_drop.decidable == pytest.approx(bound)) == (min(rare, common) < 10)
    assert (found.mean_drop.decidable < bound / 2) == (min(rare, common) >= 10)


def test_shares_of_right_cases_are_means_over_images_patients_and_seeds() -> None:
    judged, right = case(3)
    value, (low, high) = PairedDifferences(judged).mean_of_shares(right)
    assert value == pytest.approx(np.mean([one.mean() for one in right.values()]))
    assert low < value < high
    one_seed = {"a": right["a"][:1]}
    value, ci = PairedDifferences({"a": judged["a"]}).mean_of_shares(one_seed)
    assert ci == pytest.approx(tuple(ttest_1samp(one_seed["a"].reshape(30, 2).mean(1), value).confidence_interval()))
    always = {name: np.ones_like(one) for name, one in right.items()}
    value, ci = PairedDifferences(judged).mean_of_shares(always)
    bound = unseen_bound(np.ones((60, 1), bool), judged["a"].groups)
    assert (value, *ci) == (1.0, pytest.approx(1 - bound * np.sqrt(2) / 2), 1.0)


def test_dice_has_no_minimum_width_because_every_case_shows_variance() -> None:
    masks = np.ones((30, 1, 1), np.uint8)
    hits = region("a", np.zeros(30, dtype=np.int64), per_group=1)
    judged = {"a": replace(hits, region=Region(name="a", classes=("x",), task="segmentation"), masks=masks)}
    rng = np.random.default_rng(0)
    one = {"a": rng.uniform(0.7, 0.9, (2, 30, 1))}
    two = {"a": one["a"] - rng.normal(0.01, 0.001, (2, 30, 1))}
    assert PairedDifferences(judged).pair(one, two).regions["a"].decidable < 0.005


def accounts(entities: int, seed: int = 0) -> tuple[PreparedRegion, list[Floats]]:
    """A region of nodes with entities of about five, positive ones clustered, and the margins of two networks."""
    rng = np.random.default_rng(seed)
    group_N = np.repeat(np.arange(entities), rng.geometric(0.2, entities))
    label_N = (rng.random(len(group_N)) < np.where(rng.random(entities) < 0.2, 0.6, 0.05)[group_N]).astype(np.int64)
    shared_N = rng.normal(size=entities)[group_N] + rng.normal(size=len(group_N))
    sides = [shared_N + gap * label_N + 0.7 * rng.normal(size=len(group_N)) for gap in (2.0, 1.5)]
    hits = region("a", label_N)
    nodes = Region(name="a", classes=("honest", "fraud"), task="node")
    return replace(hits, region=nodes, groups=tuple(map(str, group_N))), sides


def node_cases(prepared: PreparedRegion, margin_N: Floats) -> dict[str, Floats]:
    logit_N2 = np.stack([np.zeros_like(margin_N), margin_N], axis=1)
    return {"a": get_task("node").scores_by_case(prepared.region, prepared.labels, logit_N2)[None]}


def test_the_interval_of_average_precision_is_that_of_a_jackknife_over_entities() -> None:
    prepared, sides = accounts(600)
    found = PairedDifferences({"a": prepared}).pair(*(node_cases(prepared, side) for side in sides)).regions["a"]
    names, group_N = np.unique(np.asarray(prepared.groups), return_inverse=True)

    def drop(kept_N: NDArray[np.bool_]) -> float:
        one, two = (average_precision_score(prepared.labels[kept_N], side[kept_N]) for side in sides)
        return float(one - two)

    assert found.drop == pytest.approx(drop(group_N >= 0))
    without_G = np.array([drop(group_N != group) for group in range(len(names))])
    variance = (len(names) - 1) ** 2 / len(names) * without_G.var(ddof=1)
    assert found.decidable == pytest.approx(student.ppf(0.975, len(names) - 1) * np.sqrt(variance), rel=0.03)
    # without the part of the negative nodes it would be another one
    cases = [node_cases(prepared, side)["a"] for side in sides]
    positive_1N1 = (prepared.labels == 1)[None, :, None]
    half = [np.where(positive_1N1, one, one.mean()) for one in cases]
    alone = PairedDifferences({"a": prepared}).pair(*({"a": one} for one in half)).regions["a"]
    assert abs(alone.decidable / found.decidable - 1) > 0.05


def test_average_precision_needs_no_minimum_width_unless_no_node_differs() -> None:
    prepared, (one, two) = accounts(300)
    judged = PairedDifferences({"a": prepared})
    bound = get_task("node").unseen_bound(prepared.region, prepared.targets, prepared.groups)
    differ = judged.pair(node_cases(prepared, one), node_cases(prepared, two))
    assert differ.mean_drop.ci == differ.regions["a"].ci
    assert differ.mean_drop.decidable < bound / 4
    same = judged.pair(node_cases(prepared, one), node_cases(prepared, 2 * one))
    assert (same.mean_drop.drop, same.mean_drop.decidable) == (0.0, pytest.approx(bound))
