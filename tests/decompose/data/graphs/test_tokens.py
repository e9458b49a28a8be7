"""The inputs of nodes against a loop over nodes with Python sets, and against an event-by-event replay."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_nodes import Drawn, keyword_arguments, naive_inputs

from lorkit.decompose.data.graphs import blocks
from lorkit.decompose.data.graphs.graph import Edges, Keys, build_edges
from lorkit.decompose.data.graphs.tokens import node_inputs
from lorkit.decompose.errors import UsageError
from lorkit.decompose.events import Event, Working


@st.composite
def drawn_graphs(draw: Any, *, timed: bool = False) -> Drawn:
    """Draw a graph whose relations have isolated nodes, missing keys and classes that nobody shows."""
    size, classes = draw(st.integers(1, 12)), draw(st.sampled_from([2, 3]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    edges, keys = draw(st.integers(0, 3)), draw(st.integers(0, 2))
    relations: dict[str, Any] = {}
    for index in range(0 if timed else edges):
        ends = random.integers(0, size, (2, draw(st.integers(0, 2 * size))))
        relations[f"edges{index}"] = build_edges(*ends, size, where="drawn", undirected=bool(index % 2))[0]
    for index in range(max(keys, int(not relations))):
        relations[f"keys{index}"] = Keys(random.integers(-1, 3, size), ("a", "b", "c"))
    return Drawn(
        features=random.normal(size=(size, draw(st.integers(1, 3)))),
        relations=relations,
        visible=random.integers(-1, draw(st.sampled_from([1, classes])), size),
        classes=classes,
        hops=1 if timed else draw(st.integers(1, 3)),
        folds=random.integers(-1, 2, size) if draw(st.booleans()) else None,
        times=random.integers(0, 5, size).astype(float) if timed else None,
        delay=float(draw(st.integers(0, 3))) if timed else 0.0,
    )


either = st.one_of(drawn_graphs(), drawn_graphs(timed=True))


def inputs_of(drawn: Drawn, **changes: Any) -> Any:
    return node_inputs(**{**keyword_arguments(drawn), **changes})


@settings(deadline=None, max_examples=150)
@given(drawn=either)
def test_inputs_are_those_of_the_naive_loop(drawn: Drawn) -> None:
    found = inputs_of(drawn)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, naive_inputs(drawn), rtol=1e-6, atol=1e-6)


@settings(deadline=None, max_examples=50)
@given(drawn=either, data=st.data())
def test_no_node_sees_its_own_label(drawn: Drawn, data: Any) -> None:
    node = data.draw(st.integers(0, len(drawn.visible) - 1))
    other = drawn.visible.copy()
    other[node] = data.draw(st.integers(-1, drawn.classes - 1))
    np.testing.assert_allclose(
        inputs_of(drawn)[node], inputs_of(replace(drawn, visible=other))[node], rtol=1e-6, atol=1e-7
    )


@settings(deadline=None, max_examples=50)
@given(drawn=either)
def test_nodes_of_one_fold_see_no_label_of_it(drawn: Drawn) -> None:
    drawn.folds = np.zeros(len(drawn.visible), dtype=np.int64)
    without = replace(drawn, folds=None, visible=np.full_like(drawn.visible, -1))
    np.testing.assert_array_equal(inputs_of(drawn), inputs_of(without))


@settings(deadline=None, max_examples=50)
@given(drawn=either, data=st.data())
def test_a_node_has_the_same_row_in_any_batch(drawn: Drawn, data: Any) -> None:
    order = np.array(data.draw(st.permutations(range(len(drawn.visible)))))
    whole, at = inputs_of(drawn), data.draw(st.integers(0, len(order)))
    rows = np.concatenate([inputs_of(drawn, nodes=part) for part in (order[:at], order[at:])])
    np.testing.assert_array_equal(rows, whole[order])


@settings(deadline=None, max_examples=50)
@given(drawn=either, data=st.data())
def test_the_order_of_nodes_means_nothing(drawn: Drawn, data: Any) -> None:
    size = len(drawn.visible)
    order = np.array(data.draw(st.permutations(range(size))))
    if drawn.times is not None:  # at equal times the order counts
        drawn.times = drawn.times + np.arange(size) / 100
    moved = replace(
        drawn,
        features=drawn.features[order],
        visible=drawn.visible[order],
        folds=None if drawn.folds is None else drawn.folds[order],
        times=None if drawn.times is None else drawn.times[order],
        relations={name: _moved(relation, order) for name, relation in drawn.relations.items()},
    )
    np.testing.assert_allclose(inputs_of(moved), inputs_of(drawn)[order], rtol=1e-6, atol=1e-6)


def _moved(relation: Any, order: Any) -> Any:
    if isinstance(relation, Keys):
        return Keys(relation.keys_N[order], relation.names)
    return Edges(relation.neighbours[order][:, order])


@settings(deadline=None, max_examples=30)
@given(drawn=drawn_graphs(), data=st.data())
def test_blocks_of_rows_change_nothing(drawn: Drawn, data: Any) -> None:
    whole = inputs_of(drawn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", data.draw(st.integers(1, 2000)))
        np.testing.assert_array_equal(inputs_of(drawn), whole)


@settings(deadline=None, max_examples=30)
@given(drawn=drawn_graphs())
def test_a_key_is_a_clique_of_edges(drawn: Drawn) -> None:
    keys = {name: relation for name, relation in drawn.relations.items() if isinstance(relation, Keys)}
    cliques = {name: _clique(relation.keys_N) for name, relation in keys.items()}
    found = inputs_of(drawn, relations=keys)
    np.testing.assert_allclose(found, inputs_of(drawn, relations=cliques), rtol=1e-6, atol=1e-6)


def _clique(keys: Any) -> Edges:
    pairs = np.nonzero((keys[:, None] == keys) & (keys >= 0))
    return build_edges(*pairs, len(keys), where="clique")[0]


def graph(**changes: Any) -> Drawn:
    """Three nodes of one key, of which the first two are in the training part."""
    keys = {"card": Keys(np.zeros(3, dtype=np.int64), ("one",))}
    fields: dict[str, Any] = {"relations": keys, "visible": np.array([0, 1, -1]), "classes": 2, "hops": 1}
    return Drawn(features=np.array([[1.0], [2.0], [4.0]]), **{**fields, **changes})


def test_groups_are_where_the_design_says() -> None:
    expected = np.zeros((4, 2, 2))
    expected[2, 0] = [4, 0]
    expected[:, 1] = [[1, np.log(2)], [2, np.log(2)], [4, np.log(2)], [7 / 3, np.log(3)]]
    np.testing.assert_allclose(inputs_of(graph())[2, :, 0], expected, rtol=1e-6)


def test_sizes_can_be_left_out() -> None:
    with_sizes, without = inputs_of(graph()), inputs_of(graph(), group_sizes=False)
    assert with_sizes[..., -1].any()
    assert not without[..., -1].any()
    np.testing.assert_array_equal(with_sizes[..., :-1], without[..., :-1])


def test_a_label_is_known_from_its_delay_on() -> None:
    times = np.array([0.0, 2.0, 2.0])
    on_time = inputs_of(graph(times=times, delay=2.0))[2, :, 0, 1, 0]
    late = inputs_of(graph(times=times, delay=2.5))[2, :, 0, 1, 0]
    np.testing.assert_allclose(on_time, [1, 0, 2, 7 / 3], rtol=1e-6)
    np.testing.assert_allclose(late, [0, 0, 1.5, 7 / 3], rtol=1e-6)


def test_progress_is_told() -> None:
    events: list[Event] = []
    edges = {"pays": build_edges(np.array([0]), np.array([1]), 3, where="g")[0]}
    inputs_of(graph(relations={**graph().relations, **edges}), on_event=events.append)
    done = [event for event in events if isinstance(event, Working) and event.done == event.total]
    assert {event.text for event in done} == {
        "neighbours by relation 'card'",
        "neighbours by relation 'pays'",
        "neighbours by relation 'pays', propagation",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"times_N": np.arange(3.0), "hops": 2}, "2 hops with times"),
        ({"label_delay": -1.0}, "a label delay of -1"),
        (
            {"times_N": np.arange(3.0), "relations": {"pays": build_edges([0], [1], 3, where="g")[0]}},
            "times with relation 'pays'",
        ),
    ],
)
def test_what_has_no_meaning_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        inputs_of(graph(), **changes)


def test_labels_are_classes() -> None:
    with pytest.raises(ValueError, match="label 2 of 2 classes"):
        inputs_of(graph(visible=np.array([0, 2, -1])))
