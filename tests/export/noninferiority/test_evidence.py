"""What two engines answer to the same cases, against counts and coefficients written out here."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from counted_ranking import counted_precision

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.config import default_config
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.data.samples.originals import OriginalMasks
from lorkit.decompose.errors import DataError
from lorkit.decompose.regions import Region
from lorkit.export.noninferiority import evidence
from lorkit.export.noninferiority.evidence import BATCH, AccuracyEvidence, collect_evidence

CASES = 2 * BATCH + 9
ALL = slice(None)


def prepared(region: Region, **targets: Any) -> PreparedRegion:
    """Images whose first pixel is the number of their case, two of each patient."""
    config = default_config(overrides=["regions={a: {data: x}}", "image={size: 16, channels: 1}"])
    stored = np.zeros((CASES, 1, 4, 4), np.float32)
    stored[:, 0, 0, 0] = np.arange(CASES)
    numbers = tuple(map(str, range(CASES)))
    if "masks" in targets:
        about: Any = {"spacings": (None,) * CASES, "tolerances": (1.0,) * len(region.classes)}
        targets["originals"] = OriginalMasks(masks=targets["masks"], indices=tuple(range(CASES)), **about)
    return PreparedRegion(
        region=region, recipe=build_recipe(config.image, config.regions["a"]), stored=stored,
        groups=tuple(f"p{index // 2}" for index in range(CASES)), ids=numbers, digests=numbers,
        **{"labels": np.zeros(CASES, np.int64), **targets},
    )  # fmt: skip


def engine(logits: Float32Array) -> Any:
    """Answer by the number in the image, in batches that are not too large."""

    def run(images: Float32Array) -> Float32Array:
        assert images.flags.c_contiguous
        assert len(images) <= BATCH
        return logits[images[:, 0, 0, 0].astype(int)]

    return SimpleNamespace(run=run, provider="")


def collect(
    region: Region,
    one: Float32Array,
    two: Float32Array,
    *,
    cuts: tuple[Any, Any] = ((), ()),
    offsets: tuple[Any, Any] = (None, None),
    temperature: float | None = None,
    **targets: Any,
) -> AccuracyEvidence:
    heads = [
        SimpleNamespace(cuts=cut, offsets=offset, temperature=temperature)
        for cut, offset in zip(cuts, offsets, strict=True)
    ]
    sides = [SimpleNamespace(region=region, classes=region.classes, shape=(1, 4, 4), head=head) for head in heads]
    pair: Any = SimpleNamespace(baseline=sides[0], candidate=sides[1])
    cases = prepared(region, **targets)
    return collect_evidence(pair, (engine(one), engine(two)), (cases, cases), allowed=0.05, seed=0)


def test_nodes_are_compared_by_average_precision_and_answered_from_their_thresholds() -> None:
    region = Region(name="a", task="node", classes=("honest", "fraud"))
    rng = np.random.default_rng(0)
    labels = (rng.random(CASES) < 0.3).astype(np.int64)
    one = np.stack([0 * labels, labels - 0.5 + rng.normal(size=CASES)], axis=1).astype(np.float32)
    two = one + rng.normal(size=(CASES, 2)).astype(np.float32)
    found = collect(region, one, two, labels=labels, offsets=([0.0, 0.5], [0.0, -0.5]), temperature=2.0)
    drop = found.compare(ALL)
    assert drop is not None
    margins = one[:, 1] - one[:, 0], two[:, 1] - two[:, 0]
    means = [counted_precision((labels == 1).tolist(), margin.tolist()) for margin in margins]
    assert (drop.baseline, drop.candidate) == pytest.approx(means, abs=1e-6)
    said = margins[0] > 0.5, margins[1] > -0.5
    assert found.rate == {"label_flips": int((said[0] != said[1]).sum())}
    for side, answers in zip(found.sides.score_inputs, said, strict=True):
        np.testing.assert_array_equal(side.argmax(1), answers)
    for row in found.changed:
        at, column = int(row.case), ("honest", "fraud").index(row.candidate or "")
        share = 1 / (1 + np.exp(-float(margins[1][at]) / 2.0))  # calibrated, whatever the threshold
        assert row.candidate_probability == pytest.approx(share if column else 1 - share, abs=1e-6)
    none = found.compare(np.flatnonzero(labels == 0).tolist())
    assert none is None or np.isnan(none.drop)
    assert found.sides.findings()["chance"] == pytest.approx(labels.mean())


def test_labels_are_compared_from_the_baseline_to_the_candidate() -> None:
    region = Region(name="a", classes=("x", "y", "z"))
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, CASES)  # nothing shows z
    answers = [np.where(rng.random(CASES) < share, labels, 2) for share in (0.9, 0.7)]
    one, two = (np.eye(3, dtype=np.float32)[answer] for answer in answers)
    found = collect(region, one, two, labels=labels)
    for rows in (np.arange(CASES), np.arange(20, 70)):
        drop = found.compare(rows.tolist())
        assert drop is not None
        means = [np.mean([(side[rows] == label)[labels[rows] == label].mean() for label in (0, 1)]) for side in answers]
        assert (drop.baseline, drop.candidate, drop.drop) == pytest.approx((*means, means[0] - means[1]))
        assert (drop.n, drop.groups) == (len(rows), len({row // 2 for row in rows.tolist()}))
    assert found.absent(ALL) == ["z"]
    assert found.absent(np.flatnonzero(labels == 1).tolist()) == ["x", "z"]
    differing = np.flatnonzero(answers[0] != answers[1])
    assert found.rate == {"label_flips": len(differing)}
    assert {row.case for row in found.changed} == {str(index) for index in differing}
    np.testing.assert_array_equal(found.sides.score_inputs, (one, two))
    assert (found.structures, found.equal) == ({}, False)


def test_several_labels_are_compared_above_the_thresholds_of_each_side() -> None:
    region = Region(name="a", task="multilabel", classes=("x", "y"))
    rng = np.random.default_rng(0)
    labels = (rng.random((CASES, 2)) < 0.5).astype(np.int64)
    logits = (labels + rng.normal(0, 0.3, (CASES, 2))).astype(np.float32)
    found = collect(region, logits, logits + np.float32(5), labels=labels, cuts=((0.5, 0.5), (5.5, 5.5)))
    whole, second = found.compare(ALL), found.structures["y"](ALL)
    assert whole is not None
    assert second is not None
    assert (whole.drop, second.drop) == (0, 0)
    assert second.baseline != whole.baseline
    np.testing.assert_allclose(found.sides.score_inputs[1], logits - 0.5, atol=1e-5)
    assert (found.rate, found.changed, found.equal) == ({"label_flips": 0}, [], False)
    moved = collect(region, logits, logits, labels=labels, cuts=((0.5, 0.5), (0.5, 99.0)))
    flipped = logits[:, 1] >= 0.5
    assert moved.rate == {"label_flips": int(flipped.sum())}
    assert {row.case for row in moved.changed} == {str(index) for index in np.flatnonzero(flipped)}
    assert moved.equal, "the outputs are, although the answers are not"


def coefficients(found: np.ndarray, wanted: np.ndarray, structure: int) -> np.ndarray:
    """Return 2 |A and B| / (|A| + |B|) of each case."""
    rows = []
    for one, two in zip(found == structure, wanted == structure, strict=True):
        rows.append(2 * (one & two).sum() / (one.sum() + two.sum()) if one.any() or two.any() else np.nan)
    return np.array(rows)


@pytest.fixture
def masks() -> Callable[[float], np.ndarray]:
    """Draw masks of the structures 1 and 2: the upper and lower half, in which a share of the pixels is background."""

    def draw(share: float) -> np.ndarray:
        half = np.repeat([1, 1, 2, 2], 4).reshape(4, 4)
        return np.where(np.random.default_rng(int(100 * share)).random((CASES, 4, 4)) < share, 0, half)

    return draw


def test_masks_are_compared_by_case_and_by_structure(masks: Callable[[float], np.ndarray]) -> None:
    region = Region(name="a", task="segmentation", classes=("upper", "lower"))
    truth, *answers = masks(0.2), masks(0.1), masks(0.6)
    truth[5:], answers[1][40:50] = np.where(truth[5:] == 2, 0, truth[5:]), 0
    one, two = (np.eye(3, dtype=np.float32)[answer].transpose(0, 3, 1, 2) for answer in answers)
    found = collect(region, one, two, masks=truth.astype(np.uint8))
    by_structure = [[coefficients(side, truth, structure) for side in answers] for structure in (1, 2)]
    for rows in (np.arange(CASES), np.arange(3, 60)):
        means = [[np.nanmean(side[rows]) for side in sides] for sides in by_structure]
        whole = found.compare(rows.tolist())
        assert whole is not None
        assert (whole.baseline, whole.candidate) == pytest.approx(tuple(np.mean(means, axis=0)))
        assert whole.drop == pytest.approx(whole.baseline - whole.candidate)
        for name, (baseline, candidate) in zip(region.classes, means, strict=True):
            part = found.structures[name](rows.tolist())
            assert part is not None
            assert (part.baseline, part.candidate) == pytest.approx((baseline, candidate))
    assert (found.absent(ALL), found.absent(list(range(5, 9)))) == ([], ["lower"])
    assert found.rate["flip_rate"] == pytest.approx((answers[0] != answers[1]).mean())
    sides = [np.mean([np.nanmean(structure[side]) for structure in by_structure]) for side in (0, 1)]
    assert found.rate["dice_network_grid_by_side"] == pytest.approx(
        dict(zip(("baseline", "candidate"), sides, strict=True))
    )
    assert not found.equal


def test_one_case_of_other_outputs_in_an_early_batch_is_not_equal(masks: Callable[[float], np.ndarray]) -> None:
    region = Region(name="a", task="segmentation", classes=("upper", "lower"))
    truth = masks(0.2)
    one = np.eye(3, dtype=np.float32)[truth].transpose(0, 3, 1, 2).copy()
    two = one.copy()
    assert collect(region, one, two, masks=truth.astype(np.uint8)).equal
    two[3, 0, 0, 0] += 1e-6
    found = collect(region, one, two, masks=truth.astype(np.uint8))
    assert (found.equal, found.rate["flip_rate"]) == (False, 0)


def test_cases_without_any_structure_are_not_judged(masks: Callable[[float], np.ndarray]) -> None:
    region = Region(name="a", task="segmentation", classes=("upper",))
    truth = np.minimum(masks(0.2), 1)
    truth[:7] = 0
    one = np.eye(2, dtype=np.float32)[truth].transpose(0, 3, 1, 2)
    found = collect(region, one, one, masks=truth.astype(np.uint8))
    assert found.compare(list(range(7))) is None
    assert found.absent(list(range(7))) == ["upper"]
    known = found.compare([0, 7, 9, 11, 13])
    assert known is not None
    assert (known.n, known.groups, known.baseline) == (4, 4, 1.0)
    assert found.structures == {}


@pytest.mark.parametrize(("provider", "threads", "beside"), [("CPU", 2, True), ("CPU", 1, False), ("other", 2, False)])
def test_two_engines_of_one_core_each_run_side_by_side(
    monkeypatch: pytest.MonkeyPatch, provider: str, threads: int, beside: bool
) -> None:
    monkeypatch.setattr(evidence, "usable_threads", lambda: threads)
    monkeypatch.setattr(evidence, "_ONE_CORE", "CPU")
    logits = [np.random.default_rng(side).normal(size=(CASES, 2)).astype(np.float32) for side in range(2)]
    both, met = threading.Barrier(2), []

    def answering(rows: Float32Array) -> Any:
        def run(images: Float32Array) -> Float32Array:
            if images[0, 0, 0, 0] == 0 and beside:
                met.append(both.wait(timeout=30))  # breaks unless the other one runs at the same time
            return rows[images[:, 0, 0, 0].astype(int)]

        return SimpleNamespace(run=run, provider=provider)

    cases = prepared(Region(name="a", classes=("x", "y")))
    found = evidence.logits_of_both((answering(logits[0]), answering(logits[1])), (cases, cases))
    for one, right in zip(found, logits, strict=True):
        np.testing.assert_array_equal(one, right)
    assert len(met) == 2 * beside


@pytest.mark.parametrize("error", [DataError("an output is not finite"), KeyboardInterrupt()])
def test_an_engine_does_not_go_on_where_the_other_one_ended_with_an_error(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(evidence, "usable_threads", lambda: 2)
    begun, ended, asked = threading.Event(), threading.Event(), list[int]()
    monkeypatch.setattr(evidence, "Event", lambda: ended)

    def refusing(images: Float32Array) -> Float32Array:
        assert begun.wait(timeout=30)
        raise error

    def answering(images: Float32Array) -> Float32Array:
        asked.append(len(images))
        begun.set()
        ended.wait(timeout=2)
        return np.zeros((len(images), 2), np.float32)

    engines: Any = [SimpleNamespace(run=run, provider=evidence._ONE_CORE) for run in (refusing, answering)]
    cases = prepared(Region(name="a", classes=("x", "y")))
    with pytest.raises(type(error)):
        evidence.logits_of_both(engines, (cases, cases))
    assert len(asked) == 1
