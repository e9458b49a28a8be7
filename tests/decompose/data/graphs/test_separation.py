"""Cutting a graph: neighbours near each other in the order, and the fewest nodes between two sides."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from lorkit.decompose.data.graphs import separation
from lorkit.decompose.data.graphs.graph import build_edges
from lorkit.decompose.data.graphs.separation import grow_apart, nodes_between, order_by_community, pairs_within
from lorkit.decompose.errors import DataError


def symmetric(pairs: list[tuple[int, int]], nodes: int) -> csr_array:
    dense = np.zeros((nodes, nodes), dtype=np.int32)
    for u, v in pairs:
        dense[u, v] = dense[v, u] = int(u != v)
    return csr_array(dense)


def test_two_communities_are_apart_in_the_order() -> None:
    rng = np.random.default_rng(0)
    member = rng.permutation(np.arange(40) % 2)
    dense = np.triu(rng.random((40, 40)) < np.where(member[:, None] == member, 0.6, 0.02), 1)
    order = order_by_community(csr_array((dense | dense.T).astype(np.int32)), seed=1)
    assert sorted(order.tolist()) == list(range(40))
    assert set(member[order[:20]].tolist()) in ({0}, {1})


def test_communities_with_many_edges_between_are_apart_too() -> None:
    rng = np.random.default_rng(0)
    member = rng.permutation(np.arange(400) % 2)
    dense = np.triu(rng.random((400, 400)) < np.where(member[:, None] == member, 0.5, 0.3), 1)
    order = order_by_community(csr_array((dense | dense.T).astype(np.int32)), seed=1)
    assert abs(member[order[:200]].mean() - 0.5) > 0.4


def test_a_path_is_ordered_from_end_to_end() -> None:
    order = order_by_community(symmetric([(0, 1), (1, 2), (2, 3), (3, 4)], 5), seed=0).tolist()
    assert order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0])


@pytest.mark.parametrize("nodes", [2, 3])
def test_the_smallest_graphs_have_an_order(nodes: int) -> None:
    adjacency = symmetric([(0, node) for node in range(1, nodes)], nodes)
    assert sorted(order_by_community(adjacency, seed=0).tolist()) == list(range(nodes))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=40), st.sampled_from([0.3, 0.4, 0.6]))
def test_no_pair_is_between_a_grown_side_and_the_rest(pairs: list[tuple[int, int]], share: float) -> None:
    matrix = symmetric(pairs, 20)
    side, out = grow_apart(matrix, share)
    assert side.any()
    assert not (side & out).any()
    dense = matrix.toarray()
    assert not dense[side][:, ~side & ~out].any()
    assert all(dense[node][side].any() for node in np.flatnonzero(out))  # none is left out for nothing


def test_a_side_grows_to_its_share() -> None:
    path = symmetric([(node, node + 1) for node in range(99)], 100)
    side, out = grow_apart(path, 0.4)
    assert (int(side.sum()), int(out.sum())) == (40, 1)


def test_many_nodes_grow_several_at_a_time() -> None:
    path = symmetric([(node, node + 1) for node in range(2499)], 2500)
    side, out = grow_apart(path, 0.4)
    assert abs(side.sum() - 1000) < 20
    assert out.sum() < 200


def test_pairs_are_within_the_hops_of_one_relation_over_any_node() -> None:
    one, two = (build_edges(np.array(a), np.array(b), 6, where="g")[0] for a, b in (([0, 1], [1, 2]), ([2, 5], [3, 4])))
    nodes = np.array([0, 2, 3, 4, 5])  # not 1, over which 0 comes before 2
    found = pairs_within([one, two], nodes, 2).toarray()
    assert {(int(nodes[u]), int(nodes[v])) for u, v in zip(*np.nonzero(found), strict=True)} == {
        (0, 2), (2, 0), (2, 3), (3, 2), (4, 5), (5, 4)
    }  # fmt: skip


def test_too_many_pairs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(separation, "MOST_PAIRS", 5)
    edges = build_edges(np.array([0, 0, 0]), np.array([1, 2, 3]), 4, where="g", undirected=True)[0]
    with pytest.raises(DataError, match="more than 5 pairs of nodes are within 2 hops"):
        pairs_within([edges], np.arange(4), 2)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20),
    st.lists(st.booleans(), min_size=8, max_size=8),
)
def test_the_fewest_nodes_are_left_out(pairs: list[tuple[int, int]], side: list[bool]) -> None:
    side_N = np.array(side)
    crossing = {(u, v) for u, v in pairs if side[u] != side[v]}
    between = nodes_between(symmetric(pairs, 8), side_N)
    assert all(between[u] or between[v] for u, v in crossing)
    fewest = next(
        size
        for size in range(9)
        if any(
            all(u in chosen or v in chosen for u, v in crossing) for chosen in itertools.combinations(range(8), size)
        )
    )
    assert between.sum() == fewest
