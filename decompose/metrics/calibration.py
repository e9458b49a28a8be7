"""Interval of the expected calibration error, without the upward bias of the error itself; the temperature of logits.

The error is a sum of absolute values, so the noise of a bin never cancels: a calibrated model has an error above 0, and
that of resampled cases is larger still. Percentiles therefore never reach 0.

Here a true error is in the interval if the measured one is not unusual for it. The true gaps of the bins are taken as a
multiple of the measured ones, and the noise from resampled cases. At a multiple of 0 this tests calibration.

Shape legend: R replicates, B bins, N cases, C classes.
"""

from __future__ import annotations

import math

import numpy as np

from lorkit.decompose.artifacts.arrays import Floats, Ints

_TEMPERATURES = (0.05, 20.0)  # without limits, cases that are all right would be sharpened without end


def calibration_error_interval(gap_B: Floats, gap_RB: Floats, groups: int, *, level: float = 0.95) -> list[float]:
    """Return the interval of the sum of absolute gaps.

    Args:
        gap_B: Mean confidence minus accuracy of each bin, times its share of the cases.
        gap_RB: The same in each replicate.
        groups: Number of resampled groups G. The variance of resampled means is (G - 1) / G of that of means.
        level: Coverage.
    """
    from scipy.optimize import brentq

    value = float(np.abs(gap_B).sum())
    noise_RB = (gap_RB - gap_B) * math.sqrt(groups / max(1, groups - 1))
    tail = (1.0 - level) / 2

    def excess(multiple: float, quantile: float) -> float:
        """Return a quantile of errors measured under true gaps, minus the error measured here."""
        return float(np.quantile(np.abs(multiple * gap_B + noise_RB).sum(1), quantile)) - value

    if value == 0.0:
        return [0.0, min(1.0, excess(0.0, 1.0 - tail))]
    low = 0.0
    if excess(0.0, 1.0 - tail) < 0:
        low = brentq(excess, 0.0, 1.0, args=(1.0 - tail,)) if excess(1.0, 1.0 - tail) > 0 else 1.0
    largest = 1.0 / value
    high = 1.0
    if excess(1.0, tail) < 0:
        high = brentq(excess, 1.0, largest, args=(tail,)) if excess(largest, tail) > 0 else largest
    return [low * value, min(1.0, high * value)]


def fit_temperature(label_N: Ints, logit_NC: Floats) -> float:
    """Return the T of the least log-loss of softmax(logits / T): Guo et al., ICML 2017; between 0.05 and 20.

    It changes neither the order of two classes' scores nor which class is the most probable one.

    Args:
        label_N: Classes of cases that were not trained on.
        logit_NC: Their logits.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    case_N = np.arange(len(label_N))

    def loss(log_temperature: float) -> float:
        return -float(log_softmax(logit_NC / np.exp(log_temperature), axis=1)[case_N, label_N].mean())

    low, high = np.log(_TEMPERATURES)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x))
