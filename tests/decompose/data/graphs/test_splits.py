"""Splits of nodes: the official one, and what each of the others keeps apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from lorkit.decompose.config import GraphSource
from lorkit.decompose.data.graphs.graph import Edges, Graph, Keys, Relation, build_edges, build_keys
from lorkit.decompose.data.graphs.leakage import measure_leakage
from lorkit.decompose.data.graphs.reading import read_graph
from lorkit.decompose.data.graphs.splits import SHARES, NodeSplit, possible_splits, split_graph
from lorkit.decompose.errors import DataError, UsageError


def make(labels: Any, relations: dict[str, Relation] | None = None, **changes: Any) -> Graph:
    labels_N = np.asarray(labels, dtype=np.int64)
    count = len(labels_N)
    fields: dict[str, Any] = {
        "features_NF": np.ones((count, 1), dtype=np.float32),
        "feature_names": ("a",),
        "labels_N": labels_N,
        "classes": ("no", "yes"),
        "relations": relations or {"r": Keys(np.arange(count), tuple(map(str, range(count))))},
        "ids": tuple(map(str, range(count))),
        "parts": (None,) * count,
        "origin": "memory",
    }
    return Graph(**{**fields, **changes})


def alternating(count: int, unlabelled: int = 0) -> np.ndarray:
    labels = np.arange(count) % 2
    labels[:unlabelled] = -1
    return labels


def sizes(split: NodeSplit) -> list[int]:
    return [len(split.nodes(part)) for part in SHARES]


def drawn(graph: Graph, kind: str, **options: Any) -> NodeSplit:
    """Split a small random graph, and leave out those whose parts happen to lack a class."""
    try:
        return split_graph(graph, kind, **options)
    except DataError as error:
        if "has no node in the" in error.given or "for training and" in error.given:
            reject()
        raise


def test_the_official_split_has_the_published_sizes_and_order() -> None:
    split = split_graph(make(alternating(45_954)))
    assert split.kind == "random"
    assert sizes(split) == [18_381, 4_595, 22_978]
    order = np.random.RandomState(717).permutation(45_954)
    assert set(split.nodes("train").tolist()) == set(order[:18_381].tolist())
    assert set(split.nodes("val").tolist()) == set(order[-4_595:].tolist())


def test_the_official_split_takes_labelled_nodes_only() -> None:
    split = split_graph(make(alternating(11_944, 3_305)), "random")
    order = np.random.RandomState(717).permutation(np.arange(3_305, 11_944))
    assert split.parts[:3_305] == (None,) * 3_305
    assert split.nodes("train").tolist() == sorted(order[:3_455].tolist())


def test_stated_parts_come_first() -> None:
    parts = ("train", "train", "val", "val", "test", "test", "train")
    split = split_graph(make([0, 1, 0, 1, 0, 1, -1], parts=parts))
    assert (split.kind, split.parts) == ("stated", (*parts[:6], None))
    with pytest.raises(UsageError, match="states no val part"):
        split_graph(make([0, 1, 0, 1], parts=("train", "train", "test", "test")))


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_an_entity_is_in_one_part(data: st.DataObject) -> None:
    count = data.draw(st.integers(60, 200))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**20)))
    keys = {name: rng.integers(-1, 4 * count, count) for name in "ab"}
    relations = {name: Keys(key_N, tuple(map(str, range(4 * count)))) for name, key_N in keys.items()}
    labels = rng.permutation(alternating(count, 5))
    split = drawn(make(labels, relations), "entity", entities=("a", "b"), seed=data.draw(st.integers(0, 9)))
    assert [part is None for part in split.parts] == (labels == -1).tolist()
    for key_N in keys.values():
        for key in set(key_N.tolist()) - {-1}:
            assert len({part for part, own in zip(split.parts, key_N, strict=True) if own == key and part}) <= 1
    shares = np.array(sizes(split)) / (count - 5)
    assert np.abs(shares - [0.4, 0.1, 0.5]).max() < 0.12


def test_the_first_keys_are_the_entities_and_a_missing_key_joins_none() -> None:
    a = build_keys([None] * 40, where="r")[0]
    b = build_keys([str(row % 20) for row in range(40)], where="r")[0]
    graph = make(np.arange(40) // 20, {"a": a, "b": b})
    assert sizes(split_graph(graph, "entity")) == [16, 4, 20]
    assert "kept together are a" in split_graph(graph, "entity").notices[0]
    by_b = split_graph(graph, "entity", entities=["b"])
    assert by_b.parts[:20] == by_b.parts[20:]


def test_keys_of_two_relations_are_not_confused() -> None:
    keys = np.array([0] * 15 + [-1] * 25), np.array([-1] * 25 + [0] * 15)
    relations: dict[str, Relation] = {name: Keys(key_N, ("x",)) for name, key_N in zip("ab", keys, strict=True)}
    split = split_graph(make(alternating(40), relations), "entity", entities=("a", "b"))
    assert len({*split.parts[:15]}) == len({*split.parts[25:]}) == 1
    assert split.parts[0] != split.parts[25]


def test_entities_that_hang_together_are_refused() -> None:
    with pytest.raises(DataError, match="100% of the labelled rows hang together by r"):
        split_graph(make(alternating(9), {"r": Keys(np.zeros(9, dtype=np.int64), ("x",))}), "entity")


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=12, max_size=80), st.integers(0, 9))
def test_train_is_before_val_and_val_before_test(times: list[int], seed: int) -> None:
    times_N = np.array(times, dtype=np.float64)
    labels = np.random.default_rng(seed).permutation(alternating(len(times), 2))
    labelled = times_N[labels >= 0]
    graph = make(labels, times_N=times_N)
    if len(set(labelled.tolist())) < 3:
        with pytest.raises(DataError, match="required: three or more different times"):
            split_graph(graph, "temporal")
        return
    split = drawn(graph, "temporal")
    train, val, test = (times_N[split.nodes(part)] for part in SHARES)
    assert train.max() < val.min()
    assert val.max() < test.min()
    assert len(train) + len(val) + len(test) == len(labelled)


def test_times_without_ties_are_cut_at_the_shares() -> None:
    times = np.random.default_rng(3).permutation(100).astype(np.float64)
    split = split_graph(make((times % 2).astype(int), times_N=times), "temporal")
    assert sizes(split) == [40, 10, 50]
    assert sorted(times[split.nodes("val")].tolist()) == list(range(40, 50))


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_no_training_node_is_a_neighbour_of_another_part(data: st.DataObject) -> None:
    count = data.draw(st.integers(80, 160))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**20)))
    factor = data.draw(st.sampled_from([0.3, 0.6, 1.0]))
    hops = data.draw(st.sampled_from([1, 2, 3]))
    relations: dict[str, Relation] = {}
    for name in "ab":
        near = rng.integers(0, count, int(factor * count))
        target = (near + rng.integers(1, 4, len(near))) % count
        relations[name] = build_edges(near, target, count, where="g")[0]
    labels = rng.permutation(alternating(count, 6))
    graph = make(labels, relations)
    split = drawn(graph, "neighbour", hops=hops, seed=data.draw(st.integers(0, 9)))
    kept = np.isin(np.array([part or "" for part in split.parts]), list(SHARES))
    assert not kept[labels == -1].any()
    for relation in relations.values():
        near = reached(relation, hops)
        for v, u in zip(*np.nonzero(near), strict=True):
            pair = {split.parts[v], split.parts[u]} - {None}
            assert "train" not in pair or pair == {"train"}
    for part in ("val", "test"):
        assert {row.share for row in measure_leakage(graph, split.parts, part=part, hops=hops)} == {0.0}


def reached(relation: Relation, hops: int) -> np.ndarray:
    """Which nodes are within some hops before each, by walking from node to node."""
    assert isinstance(relation, Edges)
    sources = [np.flatnonzero(row).tolist() for row in relation.neighbours.toarray()]
    near = np.zeros(relation.neighbours.shape, dtype=bool)
    for v in range(len(sources)):
        front = {v}
        for _ in range(hops):
            front |= {u for w in front for u in sources[w]}
        near[v, sorted(front - {v})] = True
    return near


def test_a_node_that_is_left_out_still_joins_its_neighbours() -> None:
    # nodes of the hub are within two hops of each other, whether the hub is in a part or not
    spokes, chain = np.arange(1, 40), np.arange(40, 100)
    sources, targets = np.concatenate([0 * spokes, chain - 1]), np.concatenate([spokes, chain])
    graph = make(alternating(100), {"e": build_edges(sources, targets, 100, where="g", undirected=True)[0]})
    split = split_graph(graph, "neighbour", hops=2)
    sides = {"train" if split.parts[node] == "train" else "other" for node in spokes.tolist() if split.parts[node]}
    assert len(sides) == 1


@pytest.mark.parametrize(("hops", "fix"), [(1, "choose another split"), (2, "keep fewer hops apart with split.hops")])
def test_a_graph_in_which_all_are_near_has_no_such_split(hops: int, fix: str) -> None:
    ends = np.arange(1, 60)
    edges = np.nonzero(np.triu(np.ones((60, 60)), 1)) if hops == 1 else (0 * ends, ends)
    graph = make(alternating(60), {"e": build_edges(*edges, 60, where="g", undirected=True)[0]})
    with pytest.raises(DataError, match="of 60 labelled nodes") as caught:
        split_graph(graph, "neighbour", hops=hops)
    assert caught.value.fix.startswith(fix)


def test_without_edges_nothing_is_left_out() -> None:
    empty = build_edges(np.zeros(0, int), np.zeros(0, int), 100, where="g")[0]
    split = split_graph(make(alternating(100), {"e": empty}), "neighbour")
    assert sizes(split) == [40, 10, 50]
    assert split.notices == (
        "0 labelled nodes (0%) left out, so that no node of val or test is within 1 hop of train",
        "class 'no' is 45.0% of train, and 53.3% of val and test",
    )


def test_what_a_graph_lacks_is_said() -> None:
    edges = build_edges(np.array([0]), np.array([1]), 9, where="g")[0]
    with pytest.raises(UsageError, match="every relation is by edges"):
        split_graph(make(alternating(9), {"e": edges}), "entity")
    with pytest.raises(UsageError, match="e is by edges"):
        split_graph(make(alternating(9), {"e": edges}), "entity", entities=["e"])
    with pytest.raises(UsageError, match="has no times"):
        split_graph(make(alternating(9)), "temporal")
    with pytest.raises(UsageError, match="has relations by key"):
        split_graph(make(alternating(9)), "neighbour")
    with pytest.raises(UsageError, match=r"unknown split 'entty'.*did you mean 'entity'"):
        split_graph(make(alternating(9)), "entty")


def test_a_class_that_is_absent_from_training_is_refused() -> None:
    parts = ("train", "train", "val", "val", "test", "test")
    for labels, where in (([0, 0, 0, 1, 0, 1], "train"), ([0, 1, 0, 0, 0, 1], "val"), ([0, 1, 0, 1, 1, 1], "test")):
        with pytest.raises(DataError, match=f"has no node in the {where} part"):
            split_graph(make(labels, parts=parts))


@pytest.mark.parametrize("kind", ["random", "entity", "neighbour"])
def test_a_seed_draws_one_split(kind: str) -> None:
    relations = {"e": edges_of(200)} if kind == "neighbour" else None
    first, again, other = (split_graph(make(alternating(200), relations), kind, seed=seed).parts for seed in (1, 1, 2))
    assert first == again != other


def test_the_splits_that_a_graph_allows() -> None:
    edges = build_edges(np.array([0]), np.array([1]), 4, where="g")[0]
    assert possible_splits(make(alternating(4), {"e": edges})) == ("random", "neighbour")
    assert possible_splits(make(alternating(4), times_N=np.zeros(4))) == ("random", "entity", "temporal")
    assert possible_splits(make(alternating(2), {"e": edges_of(2)}, parts=("train", "val"))) == (
        "stated",
        "random",
        "neighbour",
    )


def edges_of(count: int) -> Relation:
    return build_edges(np.array([0]), np.array([1]), count, where="g")[0]


def test_a_real_graph_keeps_most_nodes_apart(data_root: Path) -> None:
    graph = read_graph([data_root / "second" / "fraud" / "fdcompcn.npz"], GraphSource())
    for hops, kept in ((1, 0.97), (2, 0.9)):
        split = split_graph(graph, "neighbour", hops=hops)
        assert sum(sizes(split)) > kept * len(graph)
        assert abs(len(split.nodes("train")) / sum(sizes(split)) - 0.4) < 0.02
        assert {row.exposed for row in measure_leakage(graph, split.parts, hops=hops)} == {0}
