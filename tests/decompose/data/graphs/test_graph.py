"""A graph is checked when it is made, and edges are cleaned with a notice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from lorkit.decompose.data.graphs.graph import Edges, Graph, Keys, build_edges, build_keys, relation_of
from lorkit.decompose.errors import DataError, UsageError

NODES = 4


def make(**changes: Any) -> Graph:
    fields: dict[str, Any] = {
        "features_NF": np.ones((NODES, 2), dtype=np.float32),
        "feature_names": ("amount", "age"),
        "labels_N": np.array([0, 1, -1, 0]),
        "classes": ("honest", "fraud"),
        "relations": {"friend": build_edges(np.array([0]), np.array([1]), NODES, where="g")[0]},
        "ids": tuple("abcd"),
        "parts": (None,) * NODES,
        "origin": "memory",
    }
    return Graph(**{**fields, **changes})


def test_edges_point_from_source_to_target() -> None:
    edges, notices = build_edges(np.array([0, 2]), np.array([1, 1]), NODES, where="g")
    assert edges.neighbours.dtype == np.uint8
    assert edges.neighbours.toarray().tolist() == [[0] * 4, [1, 0, 1, 0], [0] * 4, [0] * 4]
    assert notices == ()


def test_undirected_pairs_hold_both_ways_and_duplicates_count_once() -> None:
    edges, notices = build_edges(np.array([0, 1, 3, 3]), np.array([1, 0, 3, 2]), NODES, where="g", undirected=True)
    dense = edges.neighbours.toarray()
    assert (dense == dense.T).all()
    assert list(zip(*np.nonzero(dense), strict=True)) == [(0, 1), (1, 0), (2, 3), (3, 2)]
    assert notices == ("g: 1 self-loop removed", "g: 1 duplicate edge merged")


def test_many_duplicates_of_one_edge_do_not_overflow() -> None:
    edges, notices = build_edges(np.zeros(600, int), np.ones(600, int), NODES, where="g")
    assert edges.neighbours.toarray().sum() == 1
    assert notices == ("g: 599 duplicate edges merged",)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=40), st.booleans())
def test_edges_equal_a_set_of_pairs(pairs: list[tuple[int, int]], undirected: bool) -> None:
    source, target = np.array(pairs, dtype=np.int32).reshape(-1, 2).T
    edges, _ = build_edges(source, target, 6, where="g", undirected=undirected)
    expected = {(v, u) for u, v in pairs if u != v} | ({(u, v) for u, v in pairs if u != v} if undirected else set())
    assert {(int(v), int(u)) for v, u in zip(*np.nonzero(edges.neighbours.toarray()), strict=True)} == expected


def test_a_relation_without_edges_is_told() -> None:
    assert build_edges(np.zeros(0, int), np.zeros(0, int), NODES, where="g")[1] == ("g: no edges",)
    assert "no two rows share a key" in build_keys(["a", "b", None, ""], where="g")[1][0]


def test_keys_are_numbered_in_order_and_missing_ones_are_minus_one() -> None:
    keys, notices = build_keys(["x", None, "y", "x", " "], where="g")
    assert keys.keys_N.tolist() == [0, -1, 1, 0, -1]
    assert keys.names == ("x", "y")
    assert notices == ()


@pytest.mark.parametrize(("source", "target"), [([0, 4], [1, 1]), ([0, 1], [-1, 1])])
def test_dangling_ends_are_refused(source: list[int], target: list[int]) -> None:
    with pytest.raises(DataError, match=r"no node; required: indices from 0 to 3"):
        build_edges(np.array(source), np.array(target), NODES, where="g")


def test_ends_must_be_pairs_of_whole_numbers() -> None:
    with pytest.raises(DataError, match="whole numbers"):
        build_edges(np.array([0.5]), np.array([1.0]), NODES, where="g")
    with pytest.raises(DataError, match="2 sources and 1 targets"):
        build_edges(np.array([0, 1]), np.array([1]), NODES, where="g")


def with_feature(value: float) -> np.ndarray:
    features = np.ones((NODES, 2), dtype=np.float32)
    features[2, 1] = value
    return features


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features_NF": with_feature(np.nan)}, r"feature 'age' of node 'c' \(row 3, column 2\) is nan; 1 such value"),
        ({"features_NF": with_feature(-np.inf)}, "is -inf"),
        ({"features_NF": np.ones((3, 2), np.float32)}, "3 rows of features, 4 labels"),
        ({"feature_names": ("amount",)}, r"shape \(4, 2\) with 1 names"),
        ({"features_NF": np.ones((4, 0), np.float32), "feature_names": ()}, "no features"),
        ({"labels_N": np.array([0, 1, 2, 0])}, "label 2 of node 'c'"),
        ({"labels_N": np.array([0, 1, -2, 0])}, "label -2 of node 'c'"),
        ({"classes": ("honest",), "labels_N": np.zeros(4, int)}, "classes honest; required: two or more"),
        ({"classes": ("honest", "honest")}, "each once"),
        ({"ids": tuple("abc")}, "3 ids"),
        ({"parts": ("train", "val", "test", "dev")}, "part 'dev'"),
        ({"times_N": np.array([0.0, np.nan, 1, 2])}, r"node 'b' \(row 2\)"),
        ({"times_N": np.zeros(3)}, "3 times"),
        ({"relations": {}}, "no relation"),
        ({"relations": {"card": Keys(np.zeros(3, int), ("a",))}}, "3 nodes in relation 'card'"),
        ({"relations": {"pay": Edges(csr_array((5, 5), dtype=np.uint8))}}, "5 nodes in relation 'pay'"),
    ],
)
def test_bad_graphs_are_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        make(**changes)
    assert "\n" not in str(caught.value)


def test_signed_features_are_kept() -> None:
    assert make(features_NF=with_feature(-3.5)).features_NF[2, 1] == -3.5


def test_an_empty_graph_is_refused() -> None:
    keys = build_keys([], where="g")[0]
    with pytest.raises(DataError, match="no nodes"):
        make(
            features_NF=np.ones((0, 2), np.float32), labels_N=np.zeros(0, int), ids=(), parts=(), relations={"k": keys}
        )


def test_labelled_nodes_and_relations_by_name() -> None:
    graph = make()
    assert graph.labelled_N.tolist() == [True, True, False, True]
    assert relation_of(graph, "friend") is graph.relations["friend"]
    with pytest.raises(UsageError, match="no relation 'foe' in memory; required: one of friend"):
        relation_of(graph, "foe")
