"""Propagated features against powers of a dense matrix, for directed edges too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from lorkit.decompose.data.graphs import blocks
from lorkit.decompose.data.graphs.propagation import propagations


@settings(deadline=None, max_examples=60)
@given(size=st.integers(1, 9), seed=st.integers(0, 999), symmetric=st.booleans(), limit=st.integers(1, 3000))
def test_products_are_powers_of_the_normalised_matrix(size: int, seed: int, symmetric: bool, limit: int) -> None:
    random = np.random.default_rng(seed)
    dense: Any = random.random((size, size)) < 0.3
    dense = (dense | dense.T if symmetric else dense) & ~np.eye(size, dtype=bool)
    features, nodes = random.normal(size=(size, 2)), random.permutation(size)[: size // 2 + 1]
    with_loops = dense + np.eye(size)
    normalised = np.diag(with_loops.sum(1) ** -0.5) @ with_loops @ np.diag(with_loops.sum(0) ** -0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", limit)
        found = list(propagations(csr_array(dense.astype(np.uint8)), features, 3, nodes))
    assert len(found) == 3
    for hop, product in enumerate(found, 1):
        np.testing.assert_allclose(product, (np.linalg.matrix_power(normalised, hop) @ features)[nodes], atol=1e-12)


def test_a_clique_is_smoothed_to_its_mean() -> None:
    features = np.array([[1.0], [2.0], [6.0], [9.0]])
    clique = np.ones((4, 4), dtype=np.uint8) - np.eye(4, dtype=np.uint8)
    clique[3], clique[:, 3] = 0, 0
    (once,) = propagations(csr_array(clique), features, 1, np.arange(4))
    np.testing.assert_allclose(once, [[3], [3], [3], [9]], rtol=1e-12)
