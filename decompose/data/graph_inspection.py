"""Inspect a graph before training: its relations, and what each possible split lets a test node learn from training.

A random split of a graph tells little about new entities: the labels of the same entity answer for its test nodes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lorkit.decompose.config import SplitConfig
from lorkit.decompose.config.graphs import GraphConfig
from lorkit.decompose.data.graphs.graph import NO_KEY, Edges, Graph, Relation
from lorkit.decompose.data.graphs.leakage import measure_leakage
from lorkit.decompose.data.graphs.splits import possible_splits, split_graph
from lorkit.decompose.data.node_samples import NodeSamples, split_kind
from lorkit.decompose.documents.graphs import Exposure, GraphFacts, RelationFacts, SplitFacts
from lorkit.decompose.errors import DataError


def inspect_graph(samples: NodeSamples, split: SplitConfig, settings: GraphConfig) -> GraphFacts:
    """Describe the graph of a region and all splits that it allows; `settings` has what nodes see."""
    graph, chosen = samples.graph, split_kind(samples, split)
    hops = settings.hops_of(not any(isinstance(one, Edges) for one in graph.relations.values()))
    return GraphFacts(
        nodes=len(graph),
        labelled=len(samples),
        features=list(graph.feature_names),
        timed=graph.times_N is not None,
        hops=hops,
        relation_facts={name: _relation(one) for name, one in graph.relations.items()},
        splits={
            kind: _split(graph, kind, split, (hops, settings.label_delay), chosen=kind == chosen)
            for kind in possible_splits(graph)
        },
    )


def leakage_rows(graph: Graph, parts: Sequence[str | None], hops: int, label_delay: float = 0.0) -> list[Exposure]:
    """Return by relation, and by edges within 1 to `hops` hops, what training neighbours say about the test nodes.

    Args:
        graph: The graph.
        parts: (N,) the part of each node.
        hops: Hops within which a node sees labels.
        label_delay: Time from a node to its label.
    """
    measured = [
        row
        for within in range(1, hops + 1)
        for row in measure_leakage(graph, parts, hops=within, label_delay=label_delay)
    ]
    order = {name: place for place, name in enumerate(graph.relations)}
    rows = dict.fromkeys(sorted(measured, key=lambda row: (order[row.relation], row.hops)))
    return [Exposure(relation=row.relation, hops=row.hops, exposed=row.share, right=row.right) for row in rows]


def _relation(relation: Relation) -> RelationFacts:
    if isinstance(relation, Edges):
        matrix = relation.neighbours
        with_any = (np.diff(matrix.indptr) > 0) | (np.bincount(matrix.indices, minlength=matrix.shape[0]) > 0)
        alone = 1 - float(with_any.mean())
        return RelationFacts(kind="edges", edge_count=int(matrix.nnz), key_count=None, alone=alone)
    sizes = np.bincount(relation.keys_N[relation.keys_N != NO_KEY], minlength=len(relation.names))
    shared = int(sizes[sizes > 1].sum())
    alone = 1 - shared / len(relation.keys_N)
    return RelationFacts(kind="keys", edge_count=None, key_count=int((sizes > 0).sum()), alone=alone)


def _split(graph: Graph, kind: str, split: SplitConfig, seen: tuple[int, float], *, chosen: bool) -> SplitFacts:
    """Describe a split; `seen` are the hops within which nodes see labels, and the delay of these."""
    entities = split.entities if kind == "entity" else ()
    try:
        found = split_graph(graph, kind, entities=entities, hops=split.hops or seen[0])
    except DataError as error:
        return SplitFacts(chosen=chosen, parts={}, leakage=[], refused_because=str(error))
    rows = leakage_rows(graph, found.parts, *seen)
    parts = {part: len(found.nodes(part)) for part in ("train", "val", "test")}
    return SplitFacts(chosen=chosen, parts=parts, leakage=rows, refused_because=None)
