"""Graphs in `.npz`: relations as they are saved, masks, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lorkit.decompose.config import GraphSource
from lorkit.decompose.data.graphs import npz
from lorkit.decompose.data.graphs.graph import Edges, Graph
from lorkit.decompose.errors import DataError, LorkitError, UsageError

FEATURES = np.array([[1, -2], [3, 4], [5, 6], [7, 8]], dtype=np.float64)
LABELS = np.array([0, 1, 1, 0])


def read(path: Path, source: dict[str, Any] | None = None, **arrays: Any) -> Graph:
    np.savez(path, **arrays)
    return npz.read(path, GraphSource(**source or {}))


def pairs(graph: Graph, relation: str) -> set[tuple[int, int]]:
    edges = graph.relations[relation]
    assert isinstance(edges, Edges)
    v, u = np.nonzero(edges.neighbours.toarray())
    return set(zip(u.tolist(), v.tolist(), strict=True))


BY_RELATION = {
    "features": FEATURES,
    "labels": LABELS,
    "relation_names": np.array(["pay", "call"]),
    "edge_homo": np.array([[0, 1], [1, 2]]),
    "edge_call": np.array([[2], [3]]),
    "edge_pay": np.array([[0, 1], [1, 2]], dtype=np.int32),
}


def test_relations_come_by_name_without_their_union(tmp_path: Path) -> None:
    graph = read(tmp_path / "g.npz", **BY_RELATION)
    assert list(graph.relations) == ["pay", "call"]
    assert pairs(graph, "pay") == {(0, 1), (1, 2)}
    assert pairs(graph, "call") == {(2, 3)}
    assert graph.features_NF.dtype == np.float32
    assert graph.features_NF.tolist() == FEATURES.tolist()
    assert graph.labels_N.tolist() == LABELS.tolist()
    assert (graph.classes, graph.ids, graph.feature_names) == (("0", "1"), ("0", "1", "2", "3"), ("0", "1"))
    assert graph.parts == (None,) * 4
    assert graph.times_N is None
    assert not graph.synthetic


def test_stated_relations_are_read_in_their_order(tmp_path: Path) -> None:
    graph = read(tmp_path / "g.npz", {"relations": ["call", "homo"], "simulated": True}, **BY_RELATION)
    assert list(graph.relations) == ["call", "homo"]
    assert graph.synthetic
    with pytest.raises(UsageError, match=r"no relation 'mail' .* required: some of pay, call, homo"):
        read(tmp_path / "g.npz", {"relations": "mail"}, **BY_RELATION)


def test_one_list_of_edges_is_undirected_and_the_first_split_is_used(tmp_path: Path) -> None:
    train = np.array([[1, 0, 0, 0], [0, 1, 0, 0]], dtype=bool)
    graph = read(
        tmp_path / "g.npz",
        node_features=FEATURES,
        node_labels=LABELS,
        edges=np.array([[0, 1], [3, 2]]),
        train_masks=train,
        val_masks=train[:, ::-1],
        test_masks=np.roll(train, 2, axis=1),
    )
    assert pairs(graph, "edges") == {(0, 1), (1, 0), (2, 3), (3, 2)}
    assert graph.parts == ("train", None, "test", "val")
    assert any("2 splits: the first is used" in text for text in graph.notices)


def test_names_of_the_file_are_kept(tmp_path: Path) -> None:
    graph = read(
        tmp_path / "g.npz",
        **BY_RELATION,
        ids=np.array(["a", "b", "c", "d"]),
        feature_names=np.array(["age", "sum"]),
        label_names=np.array(["good", "bad"]),
        train_mask=np.array([1, 0, 0, 0]),
        valid_mask=np.array([0, 1, 0, 0]),
        test_mask=np.array([0, 0, 1, 0]),
    )
    assert (graph.ids, graph.feature_names, graph.classes) == (("a", "b", "c", "d"), ("age", "sum"), ("good", "bad"))
    assert graph.parts == ("train", "val", "test", None)


MASKS = {f"{part}_mask": np.eye(4, dtype=bool)[row] for row, part in enumerate(("train", "val", "test"))}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": None}, "no 'features' among"),
        ({"labels": None}, "no 'labels' among"),
        ({"features": FEATURES[0]}, "features of shape"),
        ({"features": np.array([["a"], ["b"], ["c"], ["d"]])}, "of numbers"),
        ({"features": FEATURES * np.nan}, "is nan; 8 such values"),
        ({"features": FEATURES * 1e300}, "is inf"),
        ({"labels": LABELS[:3]}, "3 labels"),
        ({"edge_pay": np.array([[0, 9], [1, 2]])}, "relation 'pay': edge 1 ends at node 9"),
        ({"edge_pay": np.array([[0, 1], [1, 2], [2, 3]])}, "edges of shape"),
        ({"edge_pay": None}, "no 'edge_pay'"),
        ({"edge_pay": None, "edge_call": None, "edge_homo": None, "relation_names": None}, "has no relation"),
        ({"relation_names": None, "edges": np.zeros((2, 4), int)}, r"edges of shape \(2, 4\); required: \(edges, 2\)"),
        ({"train_mask": np.ones(4, bool)}, "has masks of train; required: of train, val and test"),
        ({**MASKS, "val_mask": np.ones(4, bool)}, "node 0 is in several parts"),
        ({**MASKS, "val_mask": np.ones(3, bool)}, "val_mask of shape"),
        ({**MASKS, "val_mask": np.ones((0, 4), bool)}, "val_mask of shape"),
        ({"ids": np.array(["a", "b", "a", "c"])}, "'a' twice in ids; required: a list of names, each once"),
        ({"feature_names": np.array(["a", "a"])}, "'a' twice in feature_names"),
        ({"label_names": np.array(5)}, r"label_names of shape \(\)"),
        ({"ids": np.array([["a", "b"]] * 4)}, r"ids of shape \(4, 2\)"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    arrays = {key: value for key, value in {**BY_RELATION, **changes}.items() if value is not None}
    with pytest.raises(LorkitError, match=message) as caught:
        read(tmp_path / "g.npz", **arrays)
    assert isinstance(caught.value, DataError)
    assert "\n" not in str(caught.value)


def test_columns_are_for_tables_only(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="states time, id"):
        read(tmp_path / "g.npz", {"time": "t", "id": "i"}, **BY_RELATION)


@pytest.mark.parametrize(
    ("name", "nodes", "positives", "edges", "parts"),
    [
        ("fraud/tolokers.npz", 11_758, 2_566, {"edges": 1_038_000}, (5_879, 2_939, 2_940)),
        (
            "second/fraud/fdcompcn.npz",
            5_317,
            559,
            {"invest": 5_686 - 138, "supplier": 760, "customer": 1_043 - 1},
            (2_126, 1_053, 2_138),
        ),
        ("second/fraud/pygod_reddit.npz", 10_984, 366, {"all": 168_016 - 10_984}, (0, 0, 0)),
    ],
)
def test_real_graphs_have_the_published_sizes(
    data_root: Path, name: str, nodes: int, positives: int, edges: dict[str, int], parts: tuple[int, int, int]
) -> None:
    graph = npz.read(data_root / name, GraphSource())
    assert (len(graph), int((graph.labels_N == 1).sum())) == (nodes, positives)
    sizes = {key: one.neighbours.nnz for key, one in graph.relations.items() if isinstance(one, Edges)}
    assert sizes == edges
    assert tuple(graph.parts.count(part) for part in ("train", "val", "test")) == parts
