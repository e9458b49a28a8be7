"""A store that is filled with a graph is the one that its rows and labels leave as a stream."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_graphs import small_graph
from streams import node_input, open_scorer, open_store

from lorkit.decompose.data.graphs.graph import Keys
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.events import Working
from lorkit.export.serving.filling import fill

NODES = node_input(relations=("user", "shop"), features=("a", "b", "c"), mean=(0.1,) * 3, std=(2.0,) * 3)


def drawn() -> Any:
    """Return a graph, one node of which has no key, and the labels that are visible."""
    graph = small_graph(keys=True)
    keys = graph.relations["user"]
    assert isinstance(keys, Keys)
    keys.keys_N[3] = -1
    visible = graph.labels_N.copy()
    visible[::5] = -1
    return graph, visible


def test_filling_leaves_what_the_stream_leaves(tmp_path: Path) -> None:
    graph, visible = drawn()
    told: list[Any] = []
    filled = open_store(tmp_path / "filled.db", NODES)
    fill(filled, NODES, graph, visible, on_event=told.append)
    assert told[-1] == Working("rows", 24, 24)
    scorer, _ = open_scorer(open_store(tmp_path / "streamed.db", NODES), NODES)
    for at, name in enumerate(graph.ids):
        keys = {key: one.names[one.keys_N[at]] if one.keys_N[at] >= 0 else None for key, one in graph.relations.items()}
        scorer.score([{"id": name, **keys, **dict(zip("abc", graph.features_NF[at].tolist(), strict=True))}])
        if visible[at] >= 0:
            scorer.label(name, ("no", "yes")[visible[at]])
    places = [(at, key) for at, one in enumerate(graph.relations.values()) for key in one.names]
    sums, wanted = (store.transact(lambda ledger: ledger.counters(places)) for store in (filled, scorer.store))
    np.testing.assert_allclose(sums, wanted, atol=1e-12)
    rows, wanted_rows = (store.transact(lambda ledger: ledger.rows(graph.ids)) for store in (filled, scorer.store))
    assert [(row.keys, row.label) for row in rows.values()] == [(row.keys, row.label) for row in wanted_rows.values()]
    assert all(np.array_equal(rows[name].values_F, wanted_rows[name].values_F) for name in graph.ids)


def test_the_last_row_is_the_latest(tmp_path: Path) -> None:
    graph, visible = drawn()
    store = open_store(tmp_path / "s.db", NODES)
    fill(store, NODES, replace(graph, times_N=np.arange(24.0)[::-1].copy()), visible)
    assert store.last_time() == 23


def test_rows_of_the_data_have_no_score(tmp_path: Path) -> None:
    graph, visible = drawn()
    store = open_store(tmp_path / "s.db", NODES)
    fill(store, NODES, graph, visible)
    scorer, _ = open_scorer(store, NODES)
    values = dict(zip("abc", graph.features_NF[0].tolist(), strict=True))
    (found,) = scorer.score([{"id": "n0", "user": "0", "shop": "0", **values}])
    assert "'n0' is a row of the data that the store was filled with" in str(found)


def test_another_graph_or_a_used_store_is_refused(tmp_path: Path) -> None:
    graph, visible = drawn()
    store = open_store(tmp_path / "s.db", NODES)
    with pytest.raises(DataError, match="has the columns user, shop, a, b, c; required: user, shop, a, c, b"):
        fill(store, NODES.model_copy(update={"features": ("a", "c", "b")}), graph, visible)
    assert not len(store)
    fill(store, NODES, graph, visible)
    with pytest.raises(UsageError, match="--fill with a store of 24 rows"):
        fill(store, NODES, graph, visible)
