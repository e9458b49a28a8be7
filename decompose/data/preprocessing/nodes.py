"""Preparation of the nodes of a graph: the resolved input of a region, and the inputs of its samples.

Shapes: N nodes, n samples, F features, C classes, R relations, K hops.
"""

from __future__ import annotations

import hashlib

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array, Ints
from lorkit.decompose.config.graphs import GraphConfig, NodeInput
from lorkit.decompose.data.graphs.graph import Keys
from lorkit.decompose.data.graphs.scaling import FeatureScaling
from lorkit.decompose.data.graphs.tokens import node_inputs
from lorkit.decompose.data.node_samples import NodeSamples
from lorkit.decompose.documents.recipe import Recipe
from lorkit.decompose.errors import DataError, plural
from lorkit.decompose.events import Listener, ignore


def resolve_nodes(samples: NodeSamples, settings: GraphConfig, training: Ints) -> NodeInput:
    """Return the input of a region's nodes; its scaling is fitted on the training samples.

    Args:
        samples: The region's nodes.
        settings: The section `graph`.
        training: Samples of the training part.
    """
    graph = samples.graph
    keys = all(isinstance(relation, Keys) for relation in graph.relations.values())
    scaling = FeatureScaling.fit(settings.scaling, graph.features_NF, samples.rows[training])
    return NodeInput(
        relations=tuple(graph.relations),
        features=graph.feature_names,
        class_count=len(graph.classes),
        hops=settings.hops_of(keys),
        group_sizes=settings.group_sizes,
        keys=keys,
        timed=keys and graph.times_N is not None,
        times=graph.time_form if keys else None,
        label_delay=settings.label_delay,
        scaling=settings.scaling,
        mean=scaling.mean,
        std=scaling.std,
        knots=scaling.knots,
    )


def prepared_nodes(
    samples: NodeSamples, recipe: Recipe, chosen: Ints, *, folds: int = 0, on_event: Listener = ignore
) -> Float32Array:
    """Return the inputs of samples, (n, C + 2, R, K + 1, F + 1).

    Args:
        samples: The region's nodes, after a split.
        recipe: Its recipe.
        chosen: Samples.
        folds: Number of folds of training nodes that do not see the labels of their own fold; 0 for none.
        on_event: Receives progress.

    Raises:
        DataError: The graph has other relations or features than the recipe, or lacks the times that it needs, or has
            them in another form.
    """
    nodes = recipe.nodes
    graph = samples.graph
    if nodes is None or (nodes.relations, nodes.features) != (tuple(graph.relations), graph.feature_names):
        wanted = None if nodes is None else _describe(nodes.relations, nodes.features)
        raise DataError(
            f"{samples.origin} has {_describe(tuple(graph.relations), graph.feature_names)}",
            required=f"those of the network, in this order: {wanted or 'images'}",
            fix="use data with the columns of the training data, or state `relations` and `features`",
        )
    if nodes.timed and graph.times_N is None:  # without them a node would see later ones
        raise DataError(
            f"{samples.origin} has no times, and the network was trained on nodes that see earlier ones only",
            required="a time for each node",
            fix="state the column of times as the region's `time`",
        )
    if nodes.timed and None not in (nodes.times, graph.time_form) and nodes.times != graph.time_form:
        raise DataError(
            f"the times of {samples.origin} are {graph.time_form}, and the network was trained on {nodes.times}",
            required="the same form, since the delay of labels has its unit",
            fix=f"write them as {nodes.times}",
        )
    scaling = FeatureScaling.of(nodes)
    return node_inputs(
        scaling.apply(graph.features_NF),
        graph.relations,
        samples.visible(),
        nodes.class_count,
        nodes.hops,
        nodes=samples.rows[chosen],
        times_N=graph.times_N if nodes.timed else None,
        label_delay=nodes.label_delay,
        folds_N=_folds(samples, folds) if folds else None,
        group_sizes=nodes.group_sizes,
        on_event=on_event,
    )


def _describe(relations: tuple[str, ...], features: tuple[str, ...]) -> str:
    shown = ", ".join(features[:8]) + (", ..." if len(features) > 8 else "")
    return f"relations {', '.join(relations)} and {plural(len(features), 'feature')} ({shown})"


def _folds(samples: NodeSamples, folds: int) -> Ints:
    """Return (N,) the fold of each node, by its group, so that the labels of an entity are hidden together."""
    number: dict[str, int] = {}
    for group in samples.groups:
        number.setdefault(group, int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) % folds)
    fold_N = np.full(len(samples.graph), -1, dtype=np.int64)
    fold_N[samples.rows] = [number[group] for group in samples.groups]
    return fold_N
