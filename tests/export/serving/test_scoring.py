"""A row is answered as the network decides, counted once, and moved to its class by its label."""

from __future__ import annotations

import math

import numpy as np
import pytest
from stores import Places
from streams import node_input, open_scorer, open_store, transactions, whole_graph

from lorkit.decompose.data.graphs.labels import encode_labels
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.events import Event, Notice
from lorkit.export.serving.scores import Score
from lorkit.export.serving.scoring import streamed_input


def test_a_batch_scores_as_one_by_one(places: Places) -> None:
    rows = transactions(40)
    one, _ = open_scorer(open_store(places("one")))
    whole, _ = open_scorer(open_store(places("whole")))
    assert whole.score(rows) == [found for row in rows for found in one.score([row])]


def test_scores_are_calibrated_and_decided_by_the_threshold(places: Places) -> None:
    scorer, network = open_scorer(open_store(places("s")))
    found = scorer.score(transactions(30))
    logits = network(np.stack(network.seen))
    for one, (_, logit) in zip(found, logits.tolist(), strict=True):
        assert isinstance(one, Score)
        fraud = 1 / (1 + math.exp(-logit / 1.5))
        assert one.probabilities == pytest.approx({"no": 1 - fraud, "yes": fraud}, abs=1e-7)
        assert one.score == pytest.approx(2 * fraud - 1, abs=1e-7)
        assert one.answer == ("yes" if fraud >= 0.4 else "no")
    assert {one.answer for one in found if isinstance(one, Score)} == {"yes", "no"}


def test_a_repeated_row_is_counted_once_and_gets_its_score(places: Places) -> None:
    rows = transactions(12, keys=1)
    scorer, _ = open_scorer(open_store(places("s")))
    scores = scorer.score([*rows[:6], rows[2]])
    assert scores[6] == scores[2]
    scorer.label("t2", "yes")
    again, calls = open_scorer(open_store(places("s")))
    assert again.score(rows[:6]) == scores[:6]
    assert not calls.seen
    again.score(rows[6:])
    labels = [-1] * 12
    labels[2] = 1
    wanted = whole_graph(node_input(), rows, labels, np.arange(12.0), 3.5)[6:]
    np.testing.assert_allclose(np.stack(calls.seen), wanted, atol=1e-6)
    (other,) = again.score([{**rows[0], "amount": 1.0}])
    assert "another row than the earlier one with the id 't0'" in str(other)


def test_late_and_corrected_labels_move_a_row(places: Places) -> None:
    rows = [{**row, "card": "a", "shop": None} for row in transactions(4)]
    scorer, network = open_scorer(open_store(places("s")))
    for at, label in enumerate(["yes", "yes", "no"]):
        scorer.score([rows[at]])
        scorer.label("t0", label)
    scorer.score([rows[3]])
    sizes = np.stack(network.seen)[:, :, 0, 1, -1]  # of the groups no, yes, without label, all
    np.testing.assert_allclose(np.expm1(sizes), [[0, 0, 0, 0], [0, 1, 0, 1], [0, 1, 1, 2], [1, 0, 2, 3]], atol=1e-6)
    assert not network.seen[3][1, 0, 1, :2].any()  # nothing is left of it in its former class


@pytest.mark.parametrize(
    ("name", "label", "said"), [("t9", "yes", "label of 't9'"), ("t0", "maybe", "'maybe'"), ("t0", None, "None")]
)
def test_a_wrong_label_is_refused(places: Places, name: str, label: object, said: str) -> None:
    scorer, _ = open_scorer(open_store(places("s")))
    scorer.score(transactions(1))
    with pytest.raises(DataError, match=said):
        scorer.label(name, label)


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (("false", "true"), [True, "true", "True", " TRUE "]),
        (("False", "True"), [True, "true", "True"]),
        (("0", "1"), [1, 1.0, "1", "1.0", "1.00"]),
        (("Yes", "yes"), ["yes"]),
    ],
)
def test_labels_are_those_of_a_table(places: Places, classes: tuple[str, str], told: list[object]) -> None:
    scorer, _ = open_scorer(open_store(places("s")))
    scorer.classes = classes
    rows = transactions(len(told))
    scorer.score(rows)
    for row, label in zip(rows, told, strict=True):
        scorer.label(row["id"], label)
    assert encode_labels(np.array([str(one) for one in told]), classes, where="")[0].tolist() == [1] * len(told)
    found = scorer.store.transact(lambda ledger: ledger.rows([row["id"] for row in rows]))
    assert [row.label for row in found.values()] == [1] * len(told)


def test_time_that_runs_backwards_is_told_once(places: Places) -> None:
    told: list[Event] = []
    rows = [{**row, "time": time} for row, time in zip(transactions(5), [3, 5, 4, 1, "2024-01-31"], strict=True)]
    scorer, _ = open_scorer(open_store(places("s")), on_event=told.append)
    assert all(isinstance(one, Score) for one in scorer.score(rows))
    assert [type(one) for one in told] == [Notice]
    assert "time runs backwards at 't2' (4 after 5)" in str(told[0])


def test_nothing_is_left_of_a_group_that_becomes_empty(places: Places) -> None:
    nodes = node_input(scaling="none", mean=(0.0, 0.0), std=(1.0, 1.0))
    scorer, _ = open_scorer(open_store(places("s"), nodes), nodes)
    rows = [{"id": amount, "card": "a", "shop": None, "amount": amount, "age": 0} for amount in (0.1, 1e12)]
    scorer.score(rows)
    for row in rows[::-1]:
        scorer.label(row["id"], "yes")
    (sums,) = scorer.store.transact(lambda ledger: ledger.counters([(0, "a")]))
    assert not sums[[0, 2]].any()  # rounding would stay in the group without a label
    assert sums[1, -1] == 2


def test_a_network_of_edges_cannot_be_streamed() -> None:
    class Recipe:
        nodes = node_input(keys=False, timed=False)

    with pytest.raises(UsageError, match="here takes a graph of edges, which cannot be streamed"):
        streamed_input(Recipe(), "here")  # type: ignore[arg-type]
