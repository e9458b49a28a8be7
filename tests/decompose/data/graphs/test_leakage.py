"""Leakage by relation, against a loop over nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorkit.decompose.data.graphs.graph import Edges, Graph, Keys, Relation, build_edges, build_keys
from lorkit.decompose.data.graphs.leakage import measure_leakage


def make(labels: Any, relations: dict[str, Relation], times: Any = None) -> Graph:
    count = len(labels)
    return Graph(
        features_NF=np.ones((count, 1), dtype=np.float32),
        feature_names=("a",),
        labels_N=np.asarray(labels, dtype=np.int64),
        classes=("no", "yes", "maybe"),
        relations=relations,
        ids=tuple(map(str, range(count))),
        parts=(None,) * count,
        origin="memory",
        times_N=None if times is None else np.asarray(times, dtype=np.float64),
    )


PARTS = ("train", "train", "train", "test", "test", "test", "val")


def test_shares_of_a_small_graph() -> None:
    keys = build_keys(["a", "a", "b", "a", "b", None, "b"], where="k")[0]
    edges = build_edges(np.array([0, 3, 6]), np.array([3, 0, 5]), 7, where="e")[0]
    graph = make([0, 1, 1, 1, 0, 1, 0], {"key": keys, "edge": edges})
    by_key, by_edge = measure_leakage(graph, PARTS)
    assert (by_key.relation, by_key.nodes, by_key.exposed) == ("key", 3, 2)
    assert by_key.share == pytest.approx(2 / 3)
    assert by_key.right == pytest.approx((0.5 + 0) / 2)  # of the tie half, then a wrong label
    assert (by_edge.exposed, by_edge.share, by_edge.right) == (1, pytest.approx(1 / 3), 0.0)
    assert measure_leakage(graph, PARTS, part="val")[0].exposed == 1


def test_without_exposed_nodes_nothing_is_right() -> None:
    keys = build_keys([None] * 3, where="k")[0]
    row = measure_leakage(make([0, 1, 1], {"k": keys}), ("train", "test", None))[0]
    assert (row.nodes, row.exposed, row.share, row.right) == (1, 0, 0.0, None)
    row = measure_leakage(make([0, 1, 1], {"k": keys}), ("train", "train", None))[0]
    assert (row.nodes, row.share, row.right) == (0, None, None)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_rows_equal_a_loop(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 25))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**20)))
    labels = rng.integers(-1, 3, count)
    times = rng.integers(0, 4, count) if data.draw(st.booleans()) else None
    relations: dict[str, Relation] = {
        "key": Keys(rng.integers(-1, 4, count), ("a", "b", "c", "d")),
        "edge": build_edges(rng.integers(0, count, 30), rng.integers(0, count, 30), count, where="g")[0],
    }
    parts = [("train", "test", None)[number] for number in rng.integers(0, 3, count)]
    part = data.draw(st.sampled_from(["test", "train"]))
    hops = data.draw(st.sampled_from([1, 2, 3]))
    delay = data.draw(st.sampled_from([0.0, 0.5, 1.0, 2.0, 9.0]))
    graph = make(labels, relations, times)
    for row in measure_leakage(graph, parts, part=part, hops=hops, label_delay=delay):
        relation = relations[row.relation]
        exposed, right = 0, 0.0
        nodes = [v for v in range(count) if parts[v] == part and labels[v] >= 0]
        for v in nodes:
            seen = [
                int(labels[u])
                for u in range(count)
                if u != v and parts[u] == "train" and labels[u] >= 0 and related(relation, v, u, times, hops, delay)
            ]
            if seen:
                exposed += 1
                most = max(map(seen.count, seen))
                modes = {label for label in seen if seen.count(label) == most}
                right += (int(labels[v]) in modes) / len(modes)
        assert (row.nodes, row.exposed) == (len(nodes), exposed)
        assert row.hops == (hops if isinstance(relation, Edges) else 1)
        assert row.right == (pytest.approx(right / exposed) if exposed else None)


def related(relation: Relation, v: int, u: int, times: Any, hops: int, delay: float) -> bool:
    if isinstance(relation, Edges):
        dense = relation.neighbours.toarray()
        front = {v}
        for _ in range(hops):
            front |= {int(near) for node in front for near in np.flatnonzero(dense[node])}
        return u in front
    same = relation.keys_N[v] == relation.keys_N[u] != -1
    return bool(same and (times is None or ((times[u], u) < (times[v], v) and times[u] + delay <= times[v])))
