from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorkit.decompose.errors import ParityError
from lorkit.export.runtime.parity import infer_all, measure_parity, require_parity, tolerance_of

IMAGES = np.arange(24, dtype=np.float32).reshape(6, 1, 2, 2) / 24


def network(batch: np.ndarray) -> np.ndarray:
    total = batch.sum((1, 2, 3))
    return np.stack([total, 2 - total], axis=1).astype(np.float32)


def found(run: object, **options: object) -> object:
    return measure_parity(run, IMAGES, network(IMAGES), **{"precision": "fp32", "inputs": "seeded", **options})  # type: ignore[arg-type]


def test_an_equal_engine_passes() -> None:
    result = found(network)
    assert result.passed
    assert result.to_json() == {
        "status": "passed", "max_abs": 0.0, "tolerance": result.tolerance, "of_margin": 0.0, "label_flips": 0,
        "flip_rate": 0.0, "flip_limit": 1.0, "dice": None, "n": 6, "batches": [1, 3, 8], "inputs": "seeded",
    }  # fmt: skip
    require_parity(result, "it")


def test_an_error_names_what_was_required_and_flips_are_counted() -> None:
    result = found(lambda batch: -network(batch))
    assert result.label_flips == 6
    with pytest.raises(ParityError, match=r"it differs from its source by .* with 6 changed labels.*at most"):
        require_parity(result, "it")


def test_an_engine_that_fails_at_one_batch_size_only_is_caught() -> None:
    assert not found(lambda batch: network(batch) + (0.1 if len(batch) == 3 else 0.0)).passed


def test_nan_never_passes() -> None:
    result = found(lambda batch: network(batch) * np.nan)
    assert not result.passed
    assert result.max_abs is None


def test_a_frozen_batch_is_caught() -> None:
    with pytest.raises(ParityError, match=r"returned 3 rows for 1 input"):
        infer_all(lambda given: {"logits": network(np.concatenate([given["image"]] * 3)[:3])}, {"image": IMAGES}, 1)


def test_no_tolerance_is_invented() -> None:
    with pytest.raises(ParityError, match="no tolerance for precision 'int4'"):
        tolerance_of("int4", network(IMAGES))


@given(st.floats(0, 5), st.integers(1, 9))
def test_the_largest_error_is_the_largest_difference(shift: float, batch: int) -> None:
    result = found(lambda images: network(images) + np.float32(shift), batches=(batch,))
    assert result.max_abs == pytest.approx(shift, abs=1e-5)
    assert result.label_flips == 0


def test_nodes_are_decided_by_their_threshold() -> None:
    reference = np.stack([np.zeros(len(IMAGES)), IMAGES.sum((1, 2, 3))], axis=1).astype(np.float32)
    offset = float(reference[2, 1]) + 0.001  # just above: a small error makes one node positive

    def shifted(batch: np.ndarray) -> np.ndarray:
        return np.stack([np.zeros(len(batch)), batch.sum((1, 2, 3)) + 0.002], axis=1).astype(np.float32)

    options = {"precision": "fp16", "inputs": "seeded"}
    result = measure_parity(shifted, IMAGES, reference, offsets=[0.0, offset], **options)  # type: ignore[arg-type]
    assert (result.label_flips, result.flip_rate) == (1, 1 / len(IMAGES))
    # of the distance to the threshold, not to the other class
    assert result.of_margin == pytest.approx(result.error / result.tolerance, rel=1e-3)
    assert measure_parity(shifted, IMAGES, reference, **options).label_flips == 0  # type: ignore[arg-type]


def test_labels_flip_at_their_own_thresholds() -> None:
    reference = np.stack([IMAGES.sum((1, 2, 3)), -IMAGES.sum((1, 2, 3))], axis=1)
    cut = float(reference[2, 0]) - 0.001  # just below: a small error flips one label of one image

    def shifted(batch: np.ndarray) -> np.ndarray:
        total = batch.sum((1, 2, 3))
        return np.stack([total - 0.002, -total], axis=1)

    options = {"precision": "fp16", "inputs": "seeded"}
    result = measure_parity(shifted, IMAGES, reference, cuts=[cut, -99.0], **options)  # type: ignore[arg-type]
    assert (result.label_flips, result.flip_rate, result.dice) == (1, 1 / 12, None)
    assert measure_parity(shifted, IMAGES, reference, cuts=[99.0, -99.0], **options).label_flips == 0  # type: ignore[arg-type]
    one = measure_parity(lambda batch: shifted(batch)[:, :1], IMAGES, reference[:, :1], cuts=[cut], **options)  # type: ignore[arg-type]
    assert one.label_flips == 1


# the documented limits (docs/deployment.md), as fractions of the largest logit, which is at least 1
LIMITS = {"fp32": 5e-5, "fp16": 5e-3, "bf16": 4e-2, "int8": 0.25}


@pytest.mark.parametrize("largest", [0.3, 1.0, 40.0])
@pytest.mark.parametrize("precision", LIMITS)
def test_an_error_just_above_the_tolerance_fails_and_one_just_below_passes(precision: str, largest: float) -> None:
    reference = np.array([[largest, -largest], [-largest / 2, 0.0]] * 3, dtype=np.float64)
    limit = LIMITS[precision] * max(1.0, largest)
    for share, passes in ((0.99, True), (1.01, False)):
        moved = reference + limit * share  # all logits alike, so that no label changes
        run = lambda batch, moved=moved: moved[np.searchsorted(IMAGES[:, 0, 0, 0], batch[:, 0, 0, 0])]  # noqa: E731
        result = measure_parity(run, IMAGES, reference, precision=precision, inputs="real")
        assert result.tolerance == pytest.approx(limit)
        assert (result.passed, result.label_flips) == (passes, 0)


@pytest.mark.parametrize("count", [10, 300])
@pytest.mark.parametrize(("precision", "share"), [("fp32", 1.0), ("fp16", 0.01), ("bf16", 0.02), ("int8", 0.05)])
def test_as_many_predictions_may_change_as_the_precision_allows_and_one_always(
    precision: str, share: float, count: int
) -> None:
    images = np.arange(count, dtype=np.float32).reshape(-1, 1, 1, 1)
    reference = np.tile(np.float32([1e-5, 0.0]), (count, 1))  # nearly a tie: a small error changes the answer
    allowed = max(1, int(share * count))
    for changed in (allowed, allowed + 1):
        answers = np.where(np.arange(count)[:, None] < changed, reference[:, ::-1], reference)
        result = measure_parity(
            lambda batch, answers=answers: answers[batch[:, 0, 0, 0].astype(int)],
            images, reference, precision=precision, inputs="real",
        )  # fmt: skip
        assert result.label_flips == min(changed, count)
        assert result.flip_limit == allowed / count
        assert result.passed == (min(changed, count) <= allowed)


def test_maps_are_compared_pixel_by_pixel() -> None:
    """Two maps of 2 x 3 pixels: one pixel of the second changes from structure 2 to 1, at a single batch size."""
    wanted = np.array([[[0, 1, 1], [2, 2, 0]], [[2, 2, 2], [0, 1, 1]]])
    reference = (2.0 * np.eye(3, dtype=np.float32)[wanted]).transpose(0, 3, 1, 2)  # margins of 2
    images = np.arange(2, dtype=np.float32).reshape(2, 1, 1, 1)

    def engine(batch: np.ndarray) -> np.ndarray:
        found = reference[batch[:, 0, 0, 0].astype(int)].copy()
        if len(batch) == 1 and batch[0, 0, 0, 0] == 1:
            found[0, 1, 0, 0] += 2.5
        return found

    options = {"precision": "int8", "inputs": "real"}
    result = measure_parity(engine, images, reference, **options)  # type: ignore[arg-type]
    assert (result.batches, result.n) == ([1, 2], 2)
    assert (result.max_abs, result.of_margin) == (2.5, 1.25)
    assert (result.label_flips, result.flip_rate, result.flip_limit) == (1, 1 / 12, 1 / 12)
    assert result.dice == pytest.approx((2 * 2 / (3 + 2) + 2 * 2 / (2 + 3)) / 2)
    assert measure_parity(engine, images, reference, batches=(2,), **options).max_abs == 0  # type: ignore[arg-type]


def test_the_error_is_also_given_as_a_share_of_the_margin() -> None:
    reference = np.array([[3.0, 1.0, -9.0], [0.5, 0.4, 0.0], [7.0, 7.0, 0.0]])
    images = np.arange(3, dtype=np.float32).reshape(3, 1, 1, 1)
    errors = np.array([[0, 0.1, 0], [0.1, 0, 0], [0, 0, 0.35]])  # of margins 2, 0.1 and 0, which is the tolerance
    for rows, share in (([0], 0.05), ([1], 1.0), ([0, 1], 1.0), ([2], 0.35 / 0.035), ([0, 1, 2], 0.35 / 0.045)):
        moved = reference[rows] + errors[rows]
        found = measure_parity(
            lambda batch, moved=moved: moved[batch[:, 0, 0, 0].astype(int)],
            images[: len(rows)], reference[rows], precision="fp16", inputs="real",
        )  # fmt: skip
        assert found.of_margin == pytest.approx(share)


def test_structures_that_overlap_are_decided_each_by_its_sign() -> None:
    """One flipped sign among 2 x 3 x 4 x 4 decisions; the Dice is the mean of those of the structures."""
    reference = np.where(np.random.default_rng(0).random((2, 3, 4, 4)) < 0.5, 1.0, -1.0).astype(np.float32)
    changed = reference.copy()
    changed[1, 2, 0, 0] *= -1
    images = np.zeros((2, 1, 4, 4), np.float32)
    found = measure_parity(
        lambda _: changed, images, reference, precision="int8", inputs="real", batches=[2], cuts=[0.0] * 3
    )
    assert found.label_flips == 1
    assert found.flip_rate == pytest.approx(1 / (2 * 3 * 4 * 4))
    one, two = changed[1] > 0, reference[1] > 0
    assert found.dice == pytest.approx((2 * (one & two).sum((1, 2)) / (one.sum((1, 2)) + two.sum((1, 2)))).mean())
