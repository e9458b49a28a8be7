"""A stream of rows has the inputs that a whole graph gives them, and is answered as the network decides."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import CLASSES, node_input, open_scorer, open_store, transactions

from lorkit.decompose.data.graphs.graph import Keys, build_keys
from lorkit.decompose.data.graphs.scaling import FeatureScaling
from lorkit.decompose.data.graphs.tokens import node_inputs
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.events import Event, Notice
from lorkit.export.serving.scoring import Score, streamed_input

ROW = st.tuples(
    st.sampled_from(["a", "b", None]),
    st.sampled_from(["x", "y", None]),
    st.floats(-1e6, 1e6, width=32),
    st.integers(0, 2),  # time since the row before
    st.sampled_from([-1, 0, 1]),
)


def whole_graph(nodes: Any, rows: list[dict[str, Any]], labels: list[int], times: Any, delay: float = 0.0) -> Any:
    """Return the inputs of all rows from the graph of all of them."""
    features = np.array([[row["amount"], row["age"]] for row in rows], dtype=np.float32)
    scaled = FeatureScaling(kind=nodes.scaling, mean=nodes.mean, std=nodes.std).apply(features)
    relations = {name: build_keys([row[name] for row in rows], where="")[0] for name in nodes.relations}
    assert all(isinstance(one, Keys) for one in relations.values())
    settings = {"times_N": times, "label_delay": delay, "group_sizes": nodes.group_sizes}
    return node_inputs(scaled, relations, np.array(labels), nodes.classes, nodes.hops, **settings)


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
def test_without_times_a_row_is_in_the_graph_of_the_rows_so_far(tmp_path: Path, changes: dict[str, Any]) -> None:
    nodes = node_input(timed=False, **changes)
    scorer, network = open_scorer(open_store(tmp_path / "s.db"), nodes)
    rows, labels = transactions(9), [0, 1, -1, 1, 0, -1, 1, 0, -1]
    for at, row in enumerate(rows):
        scorer.score([row])
        wanted = whole_graph(nodes, rows[: at + 1], [*labels[:at], -1], None)[-1]
        np.testing.assert_allclose(network.seen[-1], wanted, atol=1e-6)
        if labels[at] >= 0:
            scorer.label(row["id"], CLASSES[labels[at]])


def test_a_batch_scores_as_one_by_one(tmp_path: Path) -> None:
    rows = transactions(40)
    one, _ = open_scorer(open_store(tmp_path / "one.db"))
    whole, _ = open_scorer(open_store(tmp_path / "whole.db"))
    assert whole.score(rows) == [found for row in rows for found in one.score([row])]


def test_scores_are_calibrated_and_decided_by_the_threshold(tmp_path: Path) -> None:
    scorer, network = open_scorer(open_store(tmp_path / "s.db"))
    found = scorer.score(transactions(30))
    logits = network(np.stack(network.seen))
    for one, (_, logit) in zip(found, logits.tolist(), strict=True):
        assert isinstance(one, Score)
        fraud = 1 / (1 + math.exp(-logit / 1.5))
        assert one.probabilities == pytest.approx({"no": 1 - fraud, "yes": fraud}, abs=1e-7)
        assert one.score == pytest.approx(2 * fraud - 1, abs=1e-7)
        assert one.answer == ("yes" if fraud >= 0.4 else "no")
    assert {one.answer for one in found if isinstance(one, Score)} == {"yes", "no"}


def test_a_repeated_row_is_counted_once_and_gets_its_score(tmp_path: Path) -> None:
    rows = transactions(12, keys=1)
    scorer, _ = open_scorer(open_store(tmp_path / "s.db"))
    scores = scorer.score([*rows[:6], rows[2]])
    assert scores[6] == scores[2]
    scorer.label("t2", "yes")
    again, calls = open_scorer(open_store(tmp_path / "s.db"))
    assert again.score(rows[:6]) == scores[:6]
    assert not calls.seen
    again.score(rows[6:])
    labels = [-1] * 12
    labels[2] = 1
    wanted = whole_graph(node_input(), rows, labels, np.arange(12.0), 3.5)[6:]
    np.testing.assert_allclose(np.stack(calls.seen), wanted, atol=1e-6)
    (other,) = again.score([{**rows[0], "amount": 1.0}])
    assert "another row than the earlier one with the id 't0'" in str(other)


def test_late_and_corrected_labels_move_a_row(tmp_path: Path) -> None:
    rows = [{**row, "card": "a", "shop": None} for row in transactions(4)]
    scorer, network = open_scorer(open_store(tmp_path / "s.db"))
    for at, label in enumerate(["yes", "yes", "no"]):
        scorer.score([rows[at]])
        scorer.label("t0", label)
    scorer.score([rows[3]])
    sizes = np.stack(network.seen)[:, :, 0, 1, -1]  # of the groups no, yes, without label, all
    np.testing.assert_allclose(np.expm1(sizes), [[0, 0, 0, 0], [0, 1, 0, 1], [0, 1, 1, 2], [1, 0, 2, 3]], atol=1e-6)
    assert not network.seen[3][1, 0, 1, :2].any()  # nothing is left of it in its former class


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"amount": float("nan")}, "feature 'amount' is nan"),
        ({"amount": None}, "feature 'amount' is null"),
        ({"amount": "7"}, "feature 'amount' is '7'"),
        ({"amount": 10**400}, "feature 'amount' is 1000"),
        ({"id": None}, "no id"),
        ({"id": ["t"]}, "no id"),
        ({"card": {}}, "'card' is {}"),
        ({"time": "soon"}, "time is 'soon'"),
        ({"label": "yes"}, "a label in the row"),
    ],
)
def test_a_wrong_row_is_told_and_the_others_are_scored(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    rows = transactions(3)
    scorer, _ = open_scorer(open_store(tmp_path / "s.db"))
    first, wrong, last = scorer.score([rows[0], {**rows[1], **change}, rows[2]])
    assert isinstance(first, Score)
    assert isinstance(last, Score)
    assert isinstance(wrong, DataError)
    assert said in str(wrong)
    assert "\n" not in str(wrong)
    assert len(scorer.store) == 2


def test_a_row_without_a_column_is_refused_by_name(tmp_path: Path) -> None:
    scorer, _ = open_scorer(open_store(tmp_path / "s.db"))
    (row,) = transactions(1)
    del row["shop"]
    assert "no column 'shop'" in str(scorer.score([row])[0])


@pytest.mark.parametrize(
    ("name", "label", "said"), [("t9", "yes", "label of 't9'"), ("t0", "maybe", "'maybe'"), ("t0", None, "None")]
)
def test_a_wrong_label_is_refused(tmp_path: Path, name: str, label: object, said: str) -> None:
    scorer, _ = open_scorer(open_store(tmp_path / "s.db"))
    scorer.score(transactions(1))
    with pytest.raises(DataError, match=said):
        scorer.label(name, label)


def test_time_that_runs_backwards_is_told_once(tmp_path: Path) -> None:
    told: list[Event] = []
    rows = [{**row, "time": time} for row, time in zip(transactions(5), [3, 5, 4, 1, "2024-01-31"], strict=True)]
    scorer, _ = open_scorer(open_store(tmp_path / "s.db"), on_event=told.append)
    assert all(isinstance(one, Score) for one in scorer.score(rows))
    assert [type(one) for one in told] == [Notice]
    assert "time runs backwards at 't2' (4 after 5)" in str(told[0])


def test_keys_are_texts_as_in_a_table(tmp_path: Path) -> None:
    scorer, network = open_scorer(open_store(tmp_path / "s.db"))
    for at, card in enumerate([7, "7", 7.0, " 7 ", "07"]):
        scorer.score([{"id": at, "card": card, "shop": "", "amount": 1.0, "age": True}])
    sizes = [round(math.expm1(float(one[-1, 0, 1, -1]))) for one in network.seen]
    assert sizes == [0, 1, 2, 3, 0]
    assert [float(one[-1, 1, 1, -1]) for one in network.seen] == [0.0] * 5


def test_a_network_of_edges_cannot_be_streamed() -> None:
    class Recipe:
        nodes = node_input(keys=False, timed=False)

    with pytest.raises(UsageError, match="here takes a graph of edges, which cannot be streamed"):
        streamed_input(Recipe(), "here")  # type: ignore[arg-type]
