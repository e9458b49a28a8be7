"""Sums over the nodes that some steps reach, against powers of a dense matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from lorkit.decompose.data.graphs import blocks
from lorkit.decompose.data.graphs.edge_groups import group_sums


@settings(deadline=None, max_examples=60)
@given(size=st.integers(1, 12), seed=st.integers(0, 999), limit=st.integers(1, 3000))
def test_sums_are_those_of_dense_powers(size: int, seed: int, limit: int) -> None:
    random = np.random.default_rng(seed)
    dense: Any = (random.random((size, size)) < 0.2) & ~np.eye(size, dtype=bool)
    features, groups = random.normal(size=(size, 2)), random.integers(0, 3, size)
    nodes = random.permutation(size)[: size // 2 + 1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", limit)
        found = list(group_sums(csr_array(dense.astype(np.uint8)), features, groups, 2, 3, nodes))
    for block, hop, group, sums, counts in found:
        near = np.linalg.matrix_power(dense + np.eye(size), hop)[nodes[block]] > 0
        near = np.where(np.arange(size) == nodes[block][:, None], group == 2, near & (groups == group))
        np.testing.assert_array_equal(counts, near.sum(1))
        np.testing.assert_allclose(sums, near @ features, atol=1e-12)
    assert sum(block.stop - block.start for block, *_ in found) == 9 * len(nodes)


def test_a_hub_of_many_neighbours_is_not_counted_modulo_256() -> None:
    """Products of uint8 overflow to no edge at 256 paths from one hub to the other."""
    size = 258
    dense = np.zeros((size, size), dtype=np.uint8)
    dense[:2, 2:], dense[2:, :2] = 1, 1
    found = group_sums(csr_array(dense), np.ones((size, 1)), np.full(size, 2), 2, 2, np.arange(2))
    assert [counts.tolist() for _, _, group, _, counts in found if group == 2] == [[257, 257], [258, 258]]


def test_twins_are_compared_and_not_only_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks that are equal by chance make no twins."""
    path = csr_array(np.eye(4, k=1, dtype=np.uint8) + np.eye(4, k=-1, dtype=np.uint8))

    class Marks:
        def integers(self, _: int, size: int) -> Any:
            return np.zeros(size, dtype=np.int64)

    monkeypatch.setattr(np.random, "default_rng", lambda _: Marks())
    found = group_sums(path, np.ones((4, 1)), np.full(4, 2), 2, 2, np.arange(4))
    assert [counts.tolist() for _, hop, group, _, counts in found if (hop, group) == (2, 2)] == [[3, 4, 4, 3]]
