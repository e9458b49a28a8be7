"""Links of a graph against a loop over all pairs of nodes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_graphs import small_graph

from lorkit.decompose.data.graphs.graph import NO_KEY, Keys
from lorkit.decompose.data.graphs.links import LINKS, graph_links


def test_edges_are_links_to_their_target() -> None:
    graph = small_graph()
    for name, matrix in graph_links(graph, timed=False).items():
        assert np.array_equal(matrix.toarray(), graph.relations[name].neighbours.toarray())
        assert matrix.dtype == np.float32


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("stamped", [True, False])
def test_a_node_is_linked_to_the_last_ones_of_its_key(timed: bool, stamped: bool) -> None:
    rng = np.random.default_rng(0)
    nodes = 60
    keys_N = rng.integers(NO_KEY, 8, nodes)
    times_N = rng.integers(0, 20, nodes).astype(np.float64) if stamped else None  # some at the same time
    graph = replace(
        small_graph(nodes=nodes, keys=True),
        relations={"user": Keys(keys_N, tuple(str(key) for key in range(8)))},
        times_N=times_N,
    )
    wanted = np.zeros((nodes, nodes))
    stamps = np.zeros(nodes) if times_N is None else times_N
    for node in range(nodes):
        before = [
            (stamps[other], other)
            for other in range(nodes)
            if keys_N[other] == keys_N[node] != NO_KEY and (stamps[other], other) < (stamps[node], node)
        ]
        for _, other in sorted(before)[-LINKS:]:
            wanted[node, other] = 1
            if not timed:
                wanted[other, node] = 1
    (found,) = graph_links(graph, timed=timed).values()
    assert np.array_equal(found.toarray(), wanted)


def test_a_relation_without_shared_keys_has_no_link() -> None:
    graph = replace(small_graph(nodes=4), relations={"user": Keys(np.full(4, NO_KEY), ())})
    assert graph_links(graph, timed=False)["user"].nnz == 0
