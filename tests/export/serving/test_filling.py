"""A store that is filled with a graph is the one that its rows and labels leave as a stream."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from small_graphs import keyed_graph
from stores import Places
from streams import node_input, open_scorer, open_store

from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.events import Working
from lorkit.export.serving.filling import fill

NODES = node_input(relations=("user", "shop"), features=("a", "b", "c"), mean=(0.1,) * 3, std=(2.0,) * 3)


def test_filling_leaves_what_the_stream_leaves(places: Places) -> None:
    graph, visible = keyed_graph()
    told: list[Any] = []
    filled = open_store(places("filled"), NODES)
    fill(filled, NODES, graph, visible, on_event=told.append)
    assert told[-1] == Working("rows", 24, 24)
    scorer, _ = open_scorer(open_store(places("streamed"), NODES), NODES)
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


def test_the_last_row_is_the_latest(places: Places) -> None:
    graph, visible = keyed_graph()
    store = open_store(places("s"), NODES)
    fill(store, NODES, replace(graph, times_N=np.arange(24.0)[::-1].copy()), visible)
    assert store.last_time() == 23


def test_rows_of_the_data_have_no_score(places: Places) -> None:
    graph, visible = keyed_graph()
    store = open_store(places("s"), NODES)
    fill(store, NODES, graph, visible)
    scorer, _ = open_scorer(store, NODES)
    values = dict(zip("abc", graph.features_NF[0].tolist(), strict=True))
    (found,) = scorer.score([{"id": "n0", "user": "0", "shop": "0", **values}])
    assert "'n0' is a row of the data that the store was filled with" in str(found)


def test_another_graph_or_a_used_store_is_refused(places: Places) -> None:
    graph, visible = keyed_graph()
    store = open_store(places("s"), NODES)
    with pytest.raises(DataError, match="has the columns user, shop, a, b, c; required: user, shop, a, c, b"):
        fill(store, NODES.model_copy(update={"features": ("a", "c", "b")}), graph, visible)
    assert not len(store)
    fill(store, NODES, graph, visible)
    with pytest.raises(UsageError, match="--fill with a store of 24 rows"):
        fill(store, NODES, graph, visible)
