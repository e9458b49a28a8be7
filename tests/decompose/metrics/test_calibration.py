"""The interval of the calibration error: its definition by brute force, and how often it covers a known error."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lorkit.decompose.metrics.calibration import calibration_error_interval
from lorkit.decompose.metrics.classification import scores


def model(n: int, seed: int, confidence: float = 1.0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels drawn from the softmax of logits; with `confidence` 1 these logits are calibrated."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 2, n)
    labels = (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(np.int64)
    return labels, confidence * np.stack([np.zeros(n), odds], axis=1)


@pytest.mark.parametrize(("scale", "low_is_zero"), [(1.0, True), (6.0, False)])
def test_the_ends_are_the_outermost_errors_that_are_not_unusual(scale: float, low_is_zero: bool) -> None:
    rng = np.random.default_rng(0)
    gaps, groups = scale * rng.normal(0, 0.02, 5), 30
    replicates = gaps + rng.normal(0, 0.02, (400, 5))
    value = np.abs(gaps).sum()
    noise = (replicates - gaps) * np.sqrt(groups / (groups - 1))
    multiples = np.arange(0.0, 1 / value, 1e-2)
    measured = [np.abs(multiple * gaps + noise).sum(1) for multiple in multiples]
    not_too_large = [np.quantile(errors, 0.975) >= value for errors in measured]
    not_too_small = [np.quantile(errors, 0.025) <= value for errors in measured]
    low, high = calibration_error_interval(gaps, replicates, groups)
    assert low == pytest.approx(value * multiples[not_too_large].min(), abs=2e-2 * value)
    assert high == pytest.approx(value * max(1.0, multiples[not_too_small].max()), abs=2e-2 * value)
    assert (low == 0.0) == low_is_zero


def test_a_calibrated_model_may_have_no_error_and_an_overconfident_one_may_not() -> None:
    zero, covered = {1.0: 0, 2.5: 0}, 0
    labels, logits = model(200_000, 0, 2.5)
    true = scores(labels, logits, np.zeros(len(labels)), replicates=1)["ece"]
    for seed in range(100):
        for confidence in zero:
            labels, logits = model(200, seed, confidence)
            found = scores(labels, logits, np.arange(200), replicates=200)
            low, high = found["ci"]["ece"]
            assert low <= found["ece"] <= high
            zero[confidence] += low == 0.0
            covered += confidence > 1 and low <= true <= high
    assert zero[1.0] >= 91  # 95 are expected
    assert zero[2.5] <= 5
    assert covered >= 89


def test_no_gap_and_a_single_patient() -> None:
    assert calibration_error_interval(np.zeros(3), np.zeros((5, 3)), 4) == [0.0, 0.0]
    assert calibration_error_interval(np.full(3, 0.1), np.full((5, 3), 0.1), 1) == pytest.approx([0.3, 0.3])
    assert calibration_error_interval(np.array([0.9]), np.array([[0.1], [1.7]]), 2)[1] == 1.0
