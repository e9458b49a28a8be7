"""The input of a node: its features, its neighbours by group, relation and number of hops, and propagated features.

The groups are those of GAGA (Wang et al., "Label information enhanced fraud detection against low homophily in graphs",
WWW 2023) and RAGFormer, with the size of each group beside its mean. Shapes: N nodes, M nodes asked for, C classes, R
relations, K hops, F features.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array, Floats, Ints
from lorkit.decompose.data.graphs import edge_groups
from lorkit.decompose.data.graphs.graph import Edges, Keys, Relation
from lorkit.decompose.data.graphs.groups import mean_and_size, views
from lorkit.decompose.data.graphs.propagation import propagations
from lorkit.decompose.data.graphs.shared_keys import Stream, key_groups, key_members
from lorkit.decompose.errors import UsageError
from lorkit.decompose.events import Listener, Working, ignore


def node_inputs(
    features_NF: Float32Array | Floats,
    relations: Mapping[str, Relation],
    visible_N: Ints,
    classes: int,
    hops: int,
    *,
    nodes: Ints | None = None,
    times_N: Floats | None = None,
    label_delay: float = 0.0,
    folds_N: Ints | None = None,
    group_sizes: bool = True,
    on_event: Listener = ignore,
) -> Float32Array:
    """Return the inputs of nodes, (M, C+2, R, K+1, F+1) float32 from float64 sums.

    `[m, g, r, k]` is group g of relation r within k hops: g < C the neighbours of a class whose label is visible, g = C
    all others and the node itself, g = C+1 row m of A_hat^k X. The first F columns are the mean of the group, zeros if
    it is empty; the last is log1p of its size, for g = C+1 of the number of neighbours. At k = 0 only g = C is filled,
    with the node's own features and size 0. No entry depends on the node's own label.

    With times a relation is causal: a node sees the nodes of its key that come before it by time, then by their order
    in the data, and not itself in group C. It sees a label from `label_delay` after the time of its node, at that time
    included. A_hat X is then the mean of the earlier nodes and itself.

    Args:
        features_NF: (N, F) scaled features.
        relations: Relations by name.
        visible_N: (N,) label of each training node, -1 for all others.
        classes: C.
        hops: K; within several hops of a shared key are the nodes within one.
        nodes: (M,) nodes to return, all by default. A row does not depend on the others.
        times_N: (N,) times; makes all relations causal.
        label_delay: Time from a node to its label, in the unit of the times.
        folds_N: (N,) folds; a node sees no label of its own fold.
        group_sizes: Whether to fill the size column; else it is 0.
        on_event: Told progress.

    Raises:
        UsageError: Times with a relation of edges or with several hops, or a negative delay.
        ValueError: A visible label that is no class.
    """
    if visible_N.max(initial=-1) >= classes:
        raise ValueError(f"label {visible_N.max()} of {classes} classes")
    _check_times(relations, hops, times_N, label_delay)
    nodes_M = np.arange(len(features_NF)) if nodes is None else np.asarray(nodes)
    values_NF = np.asarray(features_NF, dtype=np.float64)
    features = values_NF.shape[1]
    inputs = np.zeros((len(nodes_M), classes + 2, len(relations), hops + 1, features + 1), dtype=np.float32)
    inputs[:, classes, :, 0, :features] = values_NF[nodes_M, None]
    for index, (name, relation) in enumerate(relations.items()):
        found = inputs[:, :, index, 1:]
        text = f"neighbours by relation '{name}'"
        if isinstance(relation, Edges):
            _write_edges(found, relation, values_NF, visible_N, nodes_M, folds_N, text, on_event)
            continue
        on_event(Working(text, 0, 1))
        stream = None if times_N is None else Stream.of(relation.keys_N, times_N, label_delay)
        _write_keys(found, relation, stream, values_NF, visible_N, nodes_M, folds_N)
        on_event(Working(text, 1, 1))
    if not group_sizes:
        inputs[..., features] = 0
    return inputs


def _check_times(relations: Mapping[str, Relation], hops: int, times_N: Floats | None, label_delay: float) -> None:
    if label_delay < 0:
        raise UsageError(f"a label delay of {label_delay:g}", required="0 or more", fix="correct the label delay")
    if times_N is None:
        return
    edges = next((name for name, relation in relations.items() if isinstance(relation, Edges)), None)
    if edges is not None:
        raise UsageError(
            f"times with relation '{edges}', which is a list of edges",
            required="relations by a shared key",
            fix="leave out the times, or this relation",
        )
    if hops != 1:
        raise UsageError(f"{hops} hops with times", required="1", fix="set the hops to 1, or leave out the times")


def _write_edges(
    found: Float32Array,
    relation: Edges,
    values_NF: Floats,
    visible_N: Ints,
    nodes_M: Ints,
    folds_N: Ints | None,
    text: str,
    on_event: Listener,
) -> None:
    """Fill (M, C+2, K, F+1) from edges."""
    matrix, features = relation.neighbours, values_NF.shape[1]
    classes, hops = found.shape[1] - 2, found.shape[2]
    for places, groups_N in views(visible_N, classes, nodes_M, folds_N):
        sums_of = edge_groups.group_sums(
            matrix, values_NF, groups_N, classes, hops, nodes_M[places], text=text, on_event=on_event
        )
        for block, hop, group, sums, counts in sums_of:
            rows = block if isinstance(places, slice) else places[block]
            found[rows, group, hop - 1] = mean_and_size(sums, counts)
    products = propagations(matrix, values_NF, hops, nodes_M, text=f"{text}, propagation", on_event=on_event)
    for hop, product in enumerate(products):
        found[:, -1, hop, :features] = product
    found[:, -1, :, features] = np.log1p(np.diff(matrix.indptr)[nodes_M, None])


def _write_keys(
    found: Float32Array,
    relation: Keys,
    stream: Stream | None,
    values_NF: Floats,
    visible_N: Ints,
    nodes_M: Ints,
    folds_N: Ints | None,
) -> None:
    """Fill (M, C+2, K, F+1) from a shared key; all hops are the same."""
    classes = found.shape[1] - 2
    for places, groups_N in views(visible_N, classes, nodes_M, folds_N):
        rows = nodes_M[places]
        if stream is None:
            for group, rows_MD in key_groups(relation.keys_N, values_NF, groups_N, classes, rows):
                found[places, group] = rows_MD[:, None]
        else:
            for group, sums, counts in stream.group_sums(values_NF, groups_N, classes):
                found[places, group, 0] = mean_and_size(sums[rows], counts[rows])
    if stream is None:
        found[:, -1] = key_members(relation.keys_N, values_NF, nodes_M)[:, None]
    else:
        sums, counts = stream.members(values_NF)
        found[:, -1, 0] = mean_and_size(sums[nodes_M], counts[nodes_M], counts[nodes_M] - 1)
