"""Probabilities of logits, beside SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy import special

from lorkit.decompose.metrics.probabilities import expit, softmax

LOGITS = arrays(np.float64, array_shapes(min_dims=2, max_dims=3, max_side=4), elements=st.floats(-1e4, 1e4))


@given(LOGITS)
def test_they_are_those_of_scipy(logits: NDArray[np.float64]) -> None:
    for axis in (None, 0, 1):
        np.testing.assert_allclose(softmax(logits, axis=axis), special.softmax(logits, axis=axis), rtol=1e-15, atol=0)
    # SciPy has no subnormal probabilities
    np.testing.assert_allclose(expit(logits), special.expit(logits), rtol=1e-15, atol=1e-300)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_logits_neither_overflow_nor_change_their_dtype(dtype: type[np.floating]) -> None:
    logits = np.array([[-1e38, -100, 0, 100, 1e38]], dtype=dtype)
    with np.errstate(over="raise", invalid="raise"):
        assert softmax(logits, axis=1).tolist() == [[0, 0, 0, 0, 1]]
        assert expit(logits)[0, [0, 2, 4]].tolist() == [0, 0.5, 1]
    assert softmax(logits, axis=1).dtype == expit(logits).dtype == dtype
