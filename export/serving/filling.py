"""Fill a new store with the rows of a graph, as if they had come by the stream.

Shapes: N nodes, K keys, C classes, F features.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array, Floats, Ints
from lorkit.decompose.config.graphs import NodeInput
from lorkit.decompose.data.graphs.graph import NO_KEY, Graph, Keys
from lorkit.decompose.data.graphs.scaling import FeatureScaling
from lorkit.decompose.data.graphs.shared_keys import key_sums
from lorkit.decompose.errors import DataError, UsageError, plural
from lorkit.decompose.events import Listener, Working, ignore
from lorkit.export.serving.counters import CounterStore, Ledger, Row
from lorkit.export.serving.inputs import with_count

_CHUNK = 2000


def fill(store: CounterStore, nodes: NodeInput, graph: Graph, visible_N: Ints, *, on_event: Listener = ignore) -> None:
    """Count all nodes of a graph and the labels that are visible, all or nothing.

    Args:
        store: An empty store.
        nodes: The input of the network.
        graph: The rows, by shared keys.
        visible_N: (N,) label of each training node, -1 for all others.
        on_event: Told progress.

    Raises:
        UsageError: The store has rows.
        DataError: The graph has other relations or features than the network.
    """
    if (nodes.relations, nodes.features) != (tuple(graph.relations), graph.feature_names):
        raise DataError(
            f"{graph.origin} has the columns {', '.join((*graph.relations, *graph.feature_names))}",
            required=f"{', '.join((*nodes.relations, *nodes.features))}, as the network",
            fix="use the data of the run",
        )
    scaling = FeatureScaling.of(nodes)
    values_NF = scaling.apply(graph.features_NF)

    def work(ledger: Ledger) -> None:
        if len(store):
            raise UsageError(
                f"--fill with a store of {plural(len(store), 'row')}",
                required="an empty one",
                fix="leave out --fill, or name a new file",
            )
        for at, (name, relation) in enumerate(graph.relations.items()):
            assert isinstance(relation, Keys)  # of a network by shared keys
            sums_KGF = _sums(relation, values_NF, visible_N, nodes.class_count)
            for keys in _chunks(len(relation.names), f"counters of '{name}'", on_event):
                ledger.write_counters([(at, relation.names[key]) for key in keys], sums_KGF[keys])
        order_N = np.arange(len(graph)) if graph.times_N is None else np.argsort(graph.times_N, kind="stable")
        for places in _chunks(len(graph), "rows", on_event):
            ledger.write_rows({graph.ids[row]: _row(graph, values_NF, visible_N, row) for row in order_N[places]})

    store.transact(work)


def _sums(relation: Keys, values_NF: Float32Array, visible_N: Ints, classes: int) -> Floats:
    """Return the sums (K, C+1, F+1) of each key by group."""
    groups_N = np.where(visible_N < 0, classes, visible_N)
    own_NF, count = with_count(values_NF), len(relation.names)
    known_N = relation.keys_N != NO_KEY
    members = (np.flatnonzero(known_N & (groups_N == group)) for group in range(classes + 1))
    return np.stack([key_sums(relation.keys_N, own_NF, rows, count)[0] for rows in members], axis=1)


def _row(graph: Graph, values_NF: Float32Array, visible_N: Ints, row: int) -> Row:
    keys = [(one.keys_N[row], one.names) for one in graph.relations.values() if isinstance(one, Keys)]
    return Row(
        keys=tuple(None if key == NO_KEY else names[key] for key, names in keys),
        values_F=values_NF[row],
        time=None if graph.times_N is None else float(graph.times_N[row]),
        label=int(visible_N[row]),
    )


def _chunks(count: int, text: str, on_event: Listener) -> Iterator[Ints]:
    for start in range(0, count, _CHUNK):
        on_event(Working(text, start, count))
        yield np.arange(start, min(start + _CHUNK, count))
    on_event(Working(text, count, count))
