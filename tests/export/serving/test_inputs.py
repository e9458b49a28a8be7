"""A stream of rows has the inputs that a whole graph gives them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import Places
from streams import CLASSES, node_input, open_scorer, open_store, transactions, whole_graph

ROW = st.tuples(
    st.sampled_from(["a", "b", None]),
    st.sampled_from(["x", "y", None]),
    st.floats(-1e6, 1e6, width=32),
    st.integers(0, 2),  # time since the row before
    st.sampled_from([-1, 0, 1]),
)


@settings(max_examples=60, deadline=None)
@given(drawn=st.lists(ROW, min_size=1, max_size=14), delay=st.integers(0, 3), batch=st.integers(1, 5))
def test_the_inputs_of_a_stream_are_those_of_the_graph(drawn: list[Any], delay: int, batch: int) -> None:
    rows = [{"id": at, "card": a, "shop": b, "amount": x, "age": at / 3} for at, (a, b, x, _, _) in enumerate(drawn)]
    times = np.cumsum([row[3] for row in drawn]).astype(np.float64)
    labels = [row[4] for row in drawn]
    scorer, network = open_scorer(open_store(":memory:"))  # type: ignore[arg-type]
    told: set[int] = set()
    waiting: list[Any] = []
    for at, row in enumerate(rows):
        due = [u for u in range(at) if u not in told and labels[u] >= 0 and times[u] + delay <= times[at]]
        if due or len(waiting) == batch:
            scorer.score(waiting)
            waiting = []
        for u in due:
            scorer.label(u, CLASSES[labels[u]])
            told.add(u)
        waiting.append(row)
    scorer.score(waiting)
    wanted = whole_graph(node_input(), rows, labels, times, delay)
    np.testing.assert_allclose(np.stack(network.seen), wanted, atol=1e-6)


@pytest.mark.parametrize("changes", [{}, {"hops": 2}, {"group_sizes": False}])
def test_without_times_a_row_is_in_the_graph_of_the_rows_so_far(places: Places, changes: dict[str, Any]) -> None:
    nodes = node_input(timed=False, **changes)
    scorer, network = open_scorer(open_store(places("s")), nodes)
    rows, labels = transactions(9), [0, 1, -1, 1, 0, -1, 1, 0, -1]
    for at, row in enumerate(rows):
        scorer.score([row])
        wanted = whole_graph(nodes, rows[: at + 1], [*labels[:at], -1], None)[-1]
        np.testing.assert_allclose(network.seen[-1], wanted, atol=1e-6)
        if labels[at] >= 0:
            scorer.label(row["id"], CLASSES[labels[at]])
